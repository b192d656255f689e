"""Against a real control plane: kube-apiserver and etcd, built from the module beside this file."""
