module canonicalname

go 1.22
