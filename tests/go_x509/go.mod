module sentry-trio/tests/go_x509

go 1.26.0
