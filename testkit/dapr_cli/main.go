// Command dapr runs the dapr CLI's functions for Kubernetes.
//
// The CLI itself cannot be built from Go modules alone: one that only `dapr workflow` and `dapr scheduler` import is not
// available. So this calls what its commands call, and prints what they return.
package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/dapr/cli/pkg/kubernetes"
)

const timeout = 600 // seconds; nothing here becomes ready, as no controller runs

func run(command string, arguments []string) error {
	switch command {
	case "mtls":
		enabled, err := kubernetes.IsMTLSEnabled()
		fmt.Println(enabled)
		return err
	case "expiry":
		expiry, err := kubernetes.Expiry()
		if err == nil {
			fmt.Println(expiry.UTC().Format(time.RFC3339))
		}
		return err
	case "warn":
		kubernetes.CheckForCertExpiry()
		return nil
	case "export":
		return kubernetes.ExportTrustChain(arguments[0])
	case "status":
		client, err := kubernetes.NewStatusClient()
		if err != nil {
			return err
		}
		found, err := client.Status()
		for _, each := range found {
			fmt.Println(each.Name, each.Healthy, each.Status, each.Replicas, each.Version)
		}
		return err
	case "upgrade":
		return kubernetes.Upgrade(kubernetes.UpgradeConfig{RuntimeVersion: arguments[0], Timeout: timeout, Args: arguments[1:]})
	case "renew-certificate":
		return kubernetes.RenewCertificate(kubernetes.RenewCertificateParams{ValidUntil: 24 * time.Hour, Timeout: timeout})
	case "uninstall":
		return kubernetes.Uninstall(arguments[0], false, false, 5)
	}
	return errors.New("unknown command " + command)
}

func main() {
	// The CLI's packages read the command line, too, for --kubeconfig.
	arguments := os.Args[1:]
	os.Args = os.Args[:1]
	if err := run(arguments[0], arguments[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
