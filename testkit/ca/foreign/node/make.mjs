// Makes node-forge.pem and pkijs.pem.
import { createPrivateKey, sign, webcrypto } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import * as asn1js from "asn1js";
import forge from "node-forge";
import * as pkijs from "pkijs";

const DATA = new URL("../../data/foreign/", import.meta.url);
const FROM = new Date("2026-01-01T00:00:00Z"), TO = new Date("2049-01-01T00:00:00Z");

function write(tool, cases) {
  writeFileSync(new URL(`${tool}.pem`, DATA), cases.map(([name, pem]) => `# ${name}\n${pem.replaceAll("\r", "").trim()}\n`).join(""));
}

function pem(label, der) {
  const lines = Buffer.from(der).toString("base64").match(/.{1,64}/g).join("\n");
  return `-----BEGIN ${label}-----\n${lines}\n-----END ${label}-----\n`;
}

// node-forge signs with RSA; all its certificates have one key, so that generation is quick.
const pair = forge.pki.rsa.generateKeyPair(2048);

function forged({ subject = [{ shortName: "CN", value: "Foreign" }], extensions = [], serial = "01", hash = forge.md.sha256.create(), change = () => {} } = {}) {
  const made = forge.pki.createCertificate();
  made.publicKey = pair.publicKey;
  made.serialNumber = serial;
  made.validity.notBefore = FROM;
  made.validity.notAfter = TO;
  made.setSubject(subject);
  made.setIssuer(subject);
  made.setExtensions([{ name: "basicConstraints", cA: true, critical: true }, { name: "keyUsage", keyCertSign: true, cRLSign: true }, ...extensions]);
  change(made);
  made.sign(pair.privateKey, hash);
  return forge.pki.certificateToPem(made);
}

function forgedRequest({ subject = [{ shortName: "CN", value: "app" }], attributes = [], hash = forge.md.sha256.create() } = {}) {
  const made = forge.pki.createCertificationRequest();
  made.publicKey = pair.publicKey;
  made.setSubject(subject);
  if (attributes.length) made.setAttributes(attributes);
  made.sign(pair.privateKey, hash);
  return forge.pki.certificationRequestToPem(made);
}

const T = forge.asn1.Type;
const name = (value, type) => ({ subject: [{ shortName: "CN", value, ...(type && { valueTagClass: type }) }] });
write("node-forge", [
  ["plain", forged()],
  ["ampersand", forged(name("A & B"))],
  ["asterisk", forged(name("*.a.example"))],
  ["at sign", forged(name("a@b.example"))],
  ["underscore", forged(name("a_b"))],
  ["umlaut as printable string", forged(name(forge.util.encodeUtf8("Größe")))],
  ["utf8 string", forged(name("Größe", T.UTF8))],
  ["bmp string", forged(name("ab", T.BMPSTRING))],
  ["email in subject", forged({ subject: [{ name: "emailAddress", value: "a@b.example" }] })],
  ["many attributes", forged({ subject: ["CN", "C", "ST", "L", "O", "OU"].map((shortName) => ({ shortName, value: shortName === "C" ? "US" : `${shortName} value` })) })],
  ["empty subject", forged({ subject: [] })],
  ["serial with the first bit", forged({ serial: "ff01" })],
  ["serial with a leading zero", forged({ serial: "0001" })],
  ["serial 0", forged({ serial: "00" })],
  ["sha1", forged({ hash: forge.md.sha1.create() })],
  ["sha512", forged({ hash: forge.md.sha512.create() })],
  ["md5", forged({ hash: forge.md.md5.create() })],
  ["san", forged({ extensions: [{ name: "subjectAltName", altNames: [{ type: 2, value: "a.example" }, { type: 6, value: "spiffe://td/x" }, { type: 7, ip: "127.0.0.1" }] }] })],
  ["san uri with a space", forged({ extensions: [{ name: "subjectAltName", altNames: [{ type: 6, value: "http://a b/" }] }] })],
  ["san utf8", forged({ extensions: [{ name: "subjectAltName", altNames: [{ type: 2, value: forge.util.encodeUtf8("ä.example") }] }] })],
  ["eku and netscape", forged({ extensions: [{ name: "extKeyUsage", serverAuth: true, clientAuth: true }, { name: "nsCertType", client: true, sslCA: true }] })],
  ["key identifiers", forged({ extensions: [{ name: "subjectKeyIdentifier" }, { name: "authorityKeyIdentifier", keyIdentifier: true, authorityCertIssuer: true, serialNumber: "01" }] })],
  ["crl distribution points", forged({ extensions: [{ name: "cRLDistributionPoints", altNames: [{ type: 6, value: "http://c/" }] }] })],
  ["validity after 2050", forged({ change: (made) => { made.validity.notAfter = new Date("2060-01-01T00:00:00Z"); } })],
  ["no ca", forged({ change: (made) => made.setExtensions([{ name: "basicConstraints", cA: false }]) })],
  ["no extensions", forged({ change: (made) => made.setExtensions([]) })],
  ["request plain", forgedRequest()],
  ["request ampersand", forgedRequest(name("A & B"))],
  ["request underscore", forgedRequest(name("a_b"))],
  ["request sha1", forgedRequest({ hash: forge.md.sha1.create() })],
  ["request empty subject", forgedRequest({ subject: [] })],
  ["request password and name", forgedRequest({ attributes: [{ name: "challengePassword", value: "pw" }, { name: "unstructuredName", value: "n" }] })],
  ["request extensions", forgedRequest({ attributes: [{ name: "extensionRequest", extensions: [{ name: "subjectAltName", altNames: [{ type: 2, value: "a.example" }] }] }] })],
  ["request san uri with a space", forgedRequest({ attributes: [{ name: "extensionRequest", extensions: [{ name: "subjectAltName", altNames: [{ type: 6, value: "http://a b/" }] }] }] })],
]);

pkijs.setEngine("node", new pkijs.CryptoEngine({ name: "node", crypto: webcrypto }));
const EC = { name: "ECDSA", namedCurve: "P-256" };
const oid = (value) => new asn1js.ObjectIdentifier({ value });
const bytes = (...all) => new asn1js.OctetString({ valueHex: new Uint8Array(all).buffer });

async function pki({ algorithm = EC, hash = "SHA-256", values = [[new asn1js.Utf8String({ value: "Foreign" })]], change = () => {} } = {}) {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const made = new pkijs.Certificate();
  made.version = 2;
  made.serialNumber = new asn1js.Integer({ value: 5 });
  for (const side of [made.subject, made.issuer]) {
    side.typesAndValues.push(...values.flat().map((value) => new pkijs.AttributeTypeAndValue({ type: "2.5.4.3", value })));
  }
  made.notBefore.value = FROM;
  made.notAfter.value = TO;
  const basic = new pkijs.BasicConstraints({ cA: true, pathLenConstraint: 3 });
  made.extensions = [new pkijs.Extension({ extnID: "2.5.29.19", critical: true, extnValue: basic.toSchema().toBER(false) })];
  await made.subjectPublicKeyInfo.importKey(keys.publicKey);
  change(made);
  await made.sign(keys.privateKey, hash);
  return pem("CERTIFICATE", made.toSchema(true).toBER(false));
}

async function pkiRequest({ algorithm = EC, hash = "SHA-256", change = () => {} } = {}) {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const made = new pkijs.CertificationRequest();
  made.version = 0;
  made.subject.typesAndValues.push(new pkijs.AttributeTypeAndValue({ type: "2.5.4.3", value: new asn1js.Utf8String({ value: "app" }) }));
  made.attributes = [];
  await made.subjectPublicKeyInfo.importKey(keys.publicKey);
  change(made);
  await made.sign(keys.privateKey, hash);
  return pem("CERTIFICATE REQUEST", made.toSchema().toBER(false));
}

const issuerKey = createPrivateKey(readFileSync(new URL("issuer.key", DATA)));
const spki = asn1js.fromBER(new Uint8Array((await import("node:crypto")).createPublicKey(issuerKey).export({ type: "spki", format: "der" })).buffer).result;

// A request written in ASN.1 alone, signed by node.
function byHand(change, { attributes = [new asn1js.Constructed({ idBlock: { tagClass: 3, tagNumber: 0 }, value: [] })], algorithm = [] } = {}) {
  const subject = new asn1js.Sequence({ value: [new asn1js.Set({ value: [new asn1js.Sequence({ value: [oid("2.5.4.3"), new asn1js.Utf8String({ value: "app" })] })] })] });
  const info = new asn1js.Sequence({ value: [new asn1js.Integer({ value: 0 }), subject, spki, ...attributes] });
  change(info.valueBlock.value);
  const tbs = info.toBER(false);
  const signature = sign("sha256", Buffer.from(tbs), issuerKey);
  const whole = new asn1js.Sequence({ value: [info, new asn1js.Sequence({ value: [oid("1.2.840.10045.4.3.2"), ...algorithm] }), new asn1js.BitString({ valueHex: new Uint8Array(signature).buffer })] });
  return pem("CERTIFICATE REQUEST", whole.toBER(false));
}
const attribute = (id, ...values) => new asn1js.Sequence({ value: [oid(id), new asn1js.Set({ value: values })] });
const attributes = (...all) => ({ attributes: [new asn1js.Constructed({ idBlock: { tagClass: 3, tagNumber: 0 }, value: all })] });
const set = (...values) => (fields) => { fields[1] = new asn1js.Sequence({ value: values }); };
const rdn = (...pairs) => new asn1js.Set({ value: pairs.map(([id, value]) => new asn1js.Sequence({ value: [oid(id), value] })) });
const printable = (value) => new asn1js.PrintableString({ value });
const keep = () => {};
const extension = (id, value) => (made) => made.extensions.push(new pkijs.Extension({ extnID: id, critical: false, extnValue: value }));
const generalNames = (...all) => new pkijs.GeneralNames({ names: all.map(([type, value]) => new pkijs.GeneralName({ type, value })) }).toSchema().toBER(false);

write("pkijs", [
  ["plain", await pki()],
  ["p384", await pki({ algorithm: { name: "ECDSA", namedCurve: "P-384" }, hash: "SHA-384" })],
  ["p521", await pki({ algorithm: { name: "ECDSA", namedCurve: "P-521" }, hash: "SHA-512" })],
  ["rsa", await pki({ algorithm: { name: "RSASSA-PKCS1-v1_5", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" } })],
  ["rsa pss", await pki({ algorithm: { name: "RSA-PSS", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" } })],
  ["one rdn of three values", await pki({ values: [["a", "b", "c"].map((value) => new asn1js.Utf8String({ value }))] })],
  ["bmp string", await pki({ values: [[new asn1js.BmpString({ value: "Größe" })]] })],
  ["universal string", await pki({ values: [[new asn1js.UniversalString({ value: "abc" })]] })],
  ["t61 string", await pki({ values: [[new asn1js.TeletexString({ value: "abc" })]] })],
  ["general string", await pki({ values: [[new asn1js.GeneralString({ value: "abc" })]] })],
  ["graphic string", await pki({ values: [[new asn1js.GraphicString({ value: "abc" })]] })],
  ["videotex string", await pki({ values: [[new asn1js.VideotexString({ value: "abc" })]] })],
  ["ampersand in printable string", await pki({ values: [[printable("A & B")]] })],
  ["underscore in printable string", await pki({ values: [[printable("a_b")]] })],
  ["generalized time before 2050", await pki({ change: (made) => { made.notBefore.type = 1; } })],
  ["version 1", await pki({ change: (made) => { made.version = 0; made.extensions = undefined; } })],
  ["serial negative", await pki({ change: (made) => { made.serialNumber = new asn1js.Integer({ value: -5 }); } })],
  ["serial 0", await pki({ change: (made) => { made.serialNumber = new asn1js.Integer({ value: 0 }); } })],
  ["serial of 21 octets", await pki({ change: (made) => { made.serialNumber = new asn1js.Integer({ valueHex: new Uint8Array(21).fill(0x55).buffer }); } })],
  ["serial not shortest", await pki({ change: (made) => { made.serialNumber = new asn1js.Integer({ valueHex: new Uint8Array([0, 0, 5]).buffer }); } })],
  ["san of many kinds", await pki({ change: extension("2.5.29.17", generalNames([2, "a.example"], [6, "spiffe://td/x"], [1, "a@b.example"], [7, bytes(192, 0, 2, 1)], [8, "1.2.3.4"])) })],
  ["san uri with a space", await pki({ change: extension("2.5.29.17", generalNames([6, "http://a b/"])) })],
  ["san uri empty", await pki({ change: extension("2.5.29.17", generalNames([6, ""])) })],
  ["san ip of 3 octets", await pki({ change: extension("2.5.29.17", generalNames([7, bytes(192, 0, 2)])) })],
  ["unknown extension", await pki({ change: extension("1.2.3.4", bytes(1).toBER(false)) })],
  ["unknown empty extension", await pki({ change: extension("1.2.3.4", new ArrayBuffer(0)) })],
  ["extension value that is no der", await pki({ change: extension("2.5.29.31", new Uint8Array([0xff]).buffer) })],
  ["request plain", await pkiRequest()],
  ["request p521", await pkiRequest({ algorithm: { name: "ECDSA", namedCurve: "P-521" }, hash: "SHA-512" })],
  ["request rsa", await pkiRequest({ algorithm: { name: "RSASSA-PKCS1-v1_5", modulusLength: 2048, publicExponent: new Uint8Array([1, 0, 1]), hash: "SHA-256" } })],
  ["request with an empty attribute", await pkiRequest({ change: (made) => made.attributes.push(new pkijs.Attribute({ type: "1.2.840.113549.1.9.14", values: [] })) })],
  ["request by hand", byHand(keep)],
  ["request null in the algorithm", byHand(keep, { algorithm: [new asn1js.Null()] })],
  ["request without attributes", byHand(keep, { attributes: [] })],
  ["request sets of attributes out of order", byHand(keep, attributes(attribute("1.2.840.113549.1.9.7", printable("z")), attribute("1.2.3", printable("a"))))],
  ["request attribute of two values out of order", byHand(keep, attributes(attribute("1.2.3", printable("z"), printable("a"))))],
  ["request attribute without values", byHand(keep, attributes(attribute("1.2.3")))],
  ["request attribute that is no sequence", byHand(keep, attributes(printable("z")))],
  ["request microsoft client info", byHand(keep, attributes(attribute("1.3.6.1.4.1.311.21.20", new asn1js.Sequence({ value: [new asn1js.Integer({ value: 5 }), new asn1js.Utf8String({ value: "host" })] }))))],
  ["request microsoft csp", byHand(keep, attributes(attribute("1.3.6.1.4.1.311.13.2.2", new asn1js.Sequence({ value: [new asn1js.Integer({ value: 1 }), new asn1js.BmpString({ value: "Provider" }), new asn1js.BitString({ valueHex: new ArrayBuffer(0) })] }))))],
  ["request microsoft extensions", byHand(keep, attributes(attribute("1.3.6.1.4.1.311.2.1.14", new asn1js.Sequence({ value: [] }))))],
  ["request extensions that are no sequence", byHand(keep, attributes(attribute("1.2.840.113549.1.9.14", printable("z"))))],
  ["request set of two", byHand(set(rdn(["2.5.4.3", printable("z")], ["2.5.4.10", printable("a")])))],
  ["request ampersand", byHand(set(rdn(["2.5.4.3", printable("a & b")])))],
  ["request underscore", byHand(set(rdn(["2.5.4.3", printable("a_b")])))],
  ["request universal string", byHand(set(rdn(["2.5.4.3", new asn1js.UniversalString({ value: "abc" })])))],
  ["request name that is no set", byHand(set(printable("abc")))],
  ["request version 2", byHand((fields) => { fields[0] = new asn1js.Integer({ value: 2 }); })],
  ["request version negative", byHand((fields) => { fields[0] = new asn1js.Integer({ value: -1 }); })],
  ["request with more fields", byHand((fields) => { fields.push(printable("more")); })],
  ["request subject missing", byHand((fields) => { fields.splice(1, 1); })],
]);
