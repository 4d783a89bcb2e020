//! The admin listener over real sockets.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::registry::Registry;
use pulsemesh_runtime::admin::{Admin, Check, router, serve};
use pulsemesh_runtime::stop::Stop;
use pulsemesh_runtime::version::Version;
use tokio::net::TcpListener;

struct Listener {
    address: SocketAddr,
    ready: Arc<AtomicBool>,
    stop: Stop,
    runtime: tokio::runtime::Runtime,
    task: tokio::task::JoinHandle<()>,
}

fn start() -> Listener {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .expect("a runtime");
    let ready = Arc::new(AtomicBool::new(true));
    let version = Version::of_build("1.2.3");
    let mut registry = Registry::default();
    pulsemesh_runtime::process::register(&mut registry, &version);
    let asked = Arc::clone(&ready);
    let readiness = move || {
        let problem = (!asked.load(Ordering::Relaxed)).then(|| "disk is full".to_owned());
        vec![Check::required("log", problem), Check::told("store", None)]
    };
    let admin = Admin { registry: Arc::new(registry), readiness: Arc::new(readiness), version };
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
    let address = listener.local_addr().expect("bound");
    let stop = Stop::new();
    let asked = stop.clone();
    let task =
        runtime.spawn(serve(listener, router(admin), async move { asked.requested().await }));
    Listener { address, ready, stop, runtime, task }
}

impl Listener {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("connects");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
        stream
    }

    fn get(&self, path: &str, headers: &str) -> String {
        let mut stream = self.connect();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n")
            .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }
}

#[test]
fn probes_and_scrapers_get_what_they_ask_for() {
    let listener = start();
    let cases: [(&str, &str, &[&str]); 8] = [
        ("/livez", "", &["HTTP/1.1 200", "\r\n\r\nok\n"]),
        ("/readyz", "", &["HTTP/1.1 200", "\r\n\r\nok\n"]),
        ("/readyz?verbose", "", &["HTTP/1.1 200", "[+] log: ok\n[+] store: ok\nok\n"]),
        ("/version", "", &["application/json", "\"version\":\"1.2.3\"", "\"rustc\":\"rustc 1."]),
        ("/metrics", "", &["content-type: text/plain; version=0.0.4", "process_open_fds "]),
        (
            "/metrics",
            "accept: application/openmetrics-text;q=0.5,*/*;q=0.1\r\n",
            &["content-type: application/openmetrics-text; version=1.0.0", "# EOF\n"],
        ),
        ("/", "", &["/readyz?verbose"]),
        ("/nothing", "", &["HTTP/1.1 404"]),
    ];
    for (path, headers, expected) in cases {
        let answer = listener.get(path, headers);
        for part in expected {
            assert!(answer.contains(part), "{path}: `{answer}` lacks `{part}`");
        }
    }
    listener.ready.store(false, Ordering::Relaxed);
    let answer = listener.get("/readyz", "");
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("disk is full"), "{answer}");
    assert!(listener.get("/livez", "").starts_with("HTTP/1.1 200"), "liveness is not readiness");
}

#[test]
fn stopping_refuses_new_connections_and_ends_idle_ones() {
    let listener = start();
    let mut idle = listener.connect();
    idle.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n").expect("sent");
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).expect("an answer") > 0);
    listener.stop.request();
    let Listener { runtime, task, address, .. } = listener;
    let ended = async { tokio::time::timeout(Duration::from_secs(20), task).await };
    runtime.block_on(ended).expect("in time").expect("no panic");
    assert_eq!(idle.read(&mut buffer).expect("the end"), 0);
    assert!(TcpStream::connect(address).is_err());
}
