//go:build tools

// What is built beside the one binary, each as a binary of its own; here so that go.mod keeps it.
package main

import (
	_ "github.com/coredns/coredns"
	_ "github.com/yannh/kubeconform/cmd/kubeconform"
	_ "go.etcd.io/etcd/server/v3"
	_ "helm.sh/helm/v4/cmd/helm"
)
