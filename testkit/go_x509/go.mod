module sentry-trio/testkit/go_x509

go 1.26.0
