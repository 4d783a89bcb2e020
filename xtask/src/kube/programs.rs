//! The programs that a cluster is made of, with their flags. Starts none.

use super::Place;
use super::configuration::ADDRESS;

/// A program that runs for as long as the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) arguments: Vec<String>,
}

impl Program {
    /// Arguments hold no space; `{dir}` and `{address}` are filled in.
    fn new(place: &Place, name: &'static str, arguments: &str) -> Self {
        let fill = |argument: &str| {
            let dir = place.dir.display().to_string();
            argument.replace("{dir}", &dir).replace("{address}", ADDRESS)
        };
        Self { name, arguments: arguments.split_whitespace().map(fill).collect() }
    }
}

/// The database and what serves it.
pub(super) fn servers(place: &Place) -> [Program; 2] {
    [
        // Nobody looks at the data of a cluster that is gone.
        Program::new(
            place,
            "etcd",
            "--data-dir {dir}/etcd --unsafe-no-fsync --log-level warn \
             --listen-client-urls http://127.0.0.1:2379 \
             --advertise-client-urls http://127.0.0.1:2379 \
             --listen-peer-urls http://127.0.0.1:2380",
        ),
        Program::new(
            place,
            "kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379 --secure-port=6443 --bind-address=0.0.0.0 \
             --advertise-address={address} --client-ca-file={dir}/pki/ca.crt \
             --tls-cert-file={dir}/pki/apiserver.crt \
             --tls-private-key-file={dir}/pki/apiserver.key \
             --service-account-key-file={dir}/pki/service-accounts.pub \
             --service-account-signing-key-file={dir}/pki/service-accounts.key \
             --service-account-issuer=https://kubernetes.default.svc \
             --service-cluster-ip-range=10.96.0.0/16 --authorization-mode=Node,RBAC \
             --allow-privileged=true --kubelet-client-certificate={dir}/pki/admin.crt \
             --kubelet-client-key={dir}/pki/admin.key \
             --kubelet-preferred-address-types=InternalIP \
             --audit-policy-file={dir}/audit.yaml --audit-log-path={dir}/audit.log",
        ),
    ]
}

/// What runs containers.
pub(super) fn runtime(place: &Place) -> Program {
    Program::new(place, "containerd", "-c {dir}/containerd.toml")
}

/// All others; they need the API server, and the kubelet the runtime.
pub(super) fn others(place: &Place) -> [Program; 6] {
    [
        Program::new(
            place,
            "kube-controller-manager",
            "--kubeconfig={dir}/pki/controllers.conf --root-ca-file={dir}/pki/ca.crt \
             --service-account-private-key-file={dir}/pki/service-accounts.key \
             --use-service-account-credentials --leader-elect=false \
             --cluster-signing-cert-file={dir}/pki/ca.crt \
             --cluster-signing-key-file={dir}/pki/ca.key",
        ),
        Program::new(
            place,
            "kube-scheduler",
            "--kubeconfig={dir}/pki/scheduler.conf --leader-elect=false",
        ),
        Program::new(
            place,
            "kubelet",
            "--config={dir}/kubelet.yaml --kubeconfig={dir}/pki/kubelet.conf \
             --hostname-override=node1 --node-ip={address} --root-dir={dir}/kubelet",
        ),
        // The limits of connections that it would set belong to the whole machine.
        Program::new(
            place,
            "kube-proxy",
            "--kubeconfig={dir}/pki/proxy.conf --proxy-mode=nftables --hostname-override=node1 \
             --cluster-cidr=10.244.0.0/16 --conntrack-max-per-core=0 \
             --conntrack-tcp-timeout-established=0 --conntrack-tcp-timeout-close-wait=0",
        ),
        Program::new(place, "coredns", "-conf {dir}/Corefile"),
        Program::new(place, "volume-provisioner", "{dir}/pki/admin.conf {dir}/volumes node1"),
    ]
}
