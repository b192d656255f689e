"""A real kube-apiserver and etcd: built, started, filled with objects, and made to fail."""
