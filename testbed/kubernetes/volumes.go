package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	corev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// The provisioner that storage-class.yaml names.
const provisioner = "pulsemesh.io/testbed"

// Between two looks at all claims; there are a few dozen of them at most.
const look = 250 * time.Millisecond

func newVolumeProvisionerCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "volume-provisioner KUBECONFIG FOLDER NODE",
		Short: "Gives claims local volumes, and removes released ones",
		Args:  cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, args []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", args[0])
			if err != nil {
				return err
			}
			client, err := kubernetes.NewForConfig(config)
			if err != nil {
				return err
			}
			for ; ; time.Sleep(look) {
				if err := provision(client.CoreV1(), args[1], args[2]); err != nil {
					fmt.Fprintln(os.Stderr, err)
				}
			}
		},
	}
}

// provision gives each pending claim of our class a volume under the folder, makes volumes as
// large as their claims have grown, and removes each released volume with its files.
func provision(client corev1.CoreV1Interface, folder, node string) error {
	ctx := context.Background()
	claims, err := client.PersistentVolumeClaims("").List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	for _, claim := range claims.Items {
		if claim.Annotations["volume.kubernetes.io/storage-provisioner"] != provisioner {
			continue
		}
		if claim.Status.Phase == core.ClaimPending && claim.Spec.VolumeName == "" {
			err = create(ctx, client, &claim, folder, node)
		} else {
			err = grow(ctx, client, &claim)
		}
		if err != nil {
			return err
		}
	}
	volumes, err := client.PersistentVolumes().List(ctx, meta.ListOptions{})
	if err != nil {
		return err
	}
	for _, volume := range volumes.Items {
		if err := removeReleased(ctx, client, &volume); err != nil {
			return err
		}
	}
	return nil
}

func create(ctx context.Context, client corev1.CoreV1Interface, claim *core.PersistentVolumeClaim, folder, node string) error {
	volume := localVolume(claim, folder, node)
	if err := os.MkdirAll(volume.Spec.Local.Path, 0o777); err != nil {
		return err
	}
	_, err := client.PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	fmt.Fprintln(os.Stderr, "created", volume.Name, err)
	return err
}

// grow does what a driver and the kubelet do for a claim that asks for more: a folder has no size.
func grow(ctx context.Context, client corev1.CoreV1Interface, claim *core.PersistentVolumeClaim) error {
	wanted := claim.Spec.Resources.Requests[core.ResourceStorage]
	has := claim.Status.Capacity[core.ResourceStorage]
	if claim.Status.Phase != core.ClaimBound || wanted.Cmp(has) <= 0 {
		return nil
	}
	volume, err := client.PersistentVolumes().Get(ctx, claim.Spec.VolumeName, meta.GetOptions{})
	if err != nil {
		return err
	}
	volume.Spec.Capacity[core.ResourceStorage] = wanted
	if _, err := client.PersistentVolumes().Update(ctx, volume, meta.UpdateOptions{}); err != nil {
		return err
	}
	claim.Status.Capacity[core.ResourceStorage] = wanted
	claim.Status.Conditions = nil
	_, err = client.PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, claim, meta.UpdateOptions{})
	fmt.Fprintln(os.Stderr, "grew", volume.Name, "to", wanted.String(), err)
	return err
}

func removeReleased(ctx context.Context, client corev1.CoreV1Interface, volume *core.PersistentVolume) error {
	if volume.Annotations["pv.kubernetes.io/provisioned-by"] != provisioner ||
		volume.Status.Phase != core.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return nil
	}
	if err := os.RemoveAll(volume.Spec.Local.Path); err != nil {
		return err
	}
	err := client.PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
	fmt.Fprintln(os.Stderr, "removed", volume.Name, err)
	return err
}

func localVolume(claim *core.PersistentVolumeClaim, folder, node string) *core.PersistentVolume {
	name := "pvc-" + string(claim.UID)
	onNode := core.NodeSelectorTerm{MatchExpressions: []core.NodeSelectorRequirement{{
		Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{node},
	}}}
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{
			Name:        name,
			Annotations: map[string]string{"pv.kubernetes.io/provisioned-by": provisioner},
		},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      claim.Spec.Resources.Requests,
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: core.PersistentVolumeReclaimDelete,
			StorageClassName:              *claim.Spec.StorageClassName,
			ClaimRef: &core.ObjectReference{
				Kind: "PersistentVolumeClaim", APIVersion: "v1",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{
				Local: &core.LocalVolumeSource{Path: filepath.Join(folder, name)},
			},
			NodeAffinity: &core.VolumeNodeAffinity{
				Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{onNode}},
			},
		},
	}
}
