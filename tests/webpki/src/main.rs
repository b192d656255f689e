//! Verifies a certificate as rustls does: `verify ANCHORS CHAIN DNS-NAME USAGE`, with PEM files and `server` or `client`.
//! Prints the URIs of the certificate; an error is a line on standard error and exit code 1.

use rustls_pki_types::{pem::PemObject, CertificateDer, ServerName, UnixTime};
use webpki::{anchor_from_trusted_cert, EndEntityCert, KeyUsage, ALL_VERIFICATION_ALGS};

fn certificates(path: &str) -> Vec<CertificateDer<'static>> {
    let found = CertificateDer::pem_file_iter(path).expect("a file");
    found.map(|each| each.expect("a certificate")).collect()
}

fn verify(arguments: &[String]) -> Result<(), webpki::Error> {
    let (roots, chain) = (certificates(&arguments[0]), certificates(&arguments[1]));
    let anchors = roots.iter().map(anchor_from_trusted_cert).collect::<Result<Vec<_>, _>>()?;
    let leaf = EndEntityCert::try_from(&chain[0])?;
    let usage = match arguments[3].as_str() {
        "server" => KeyUsage::server_auth(),
        _ => KeyUsage::client_auth(),
    };
    let now = UnixTime::now();
    leaf.verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &chain[1..], now, usage, None, None)?;
    leaf.verify_is_valid_for_subject_name(&ServerName::try_from(arguments[2].as_str()).expect("a name"))?;
    leaf.valid_uri_names().for_each(|uri| println!("{uri}"));
    Ok(())
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Err(error) = verify(&arguments) {
        eprintln!("{error:?}");
        std::process::exit(1);
    }
}
