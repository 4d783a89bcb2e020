//! A real Kubernetes of one node on this machine, without Docker: control plane, kubelet, network,
//! DNS and volumes, in namespaces of their own. The one who starts a cluster owns it: all of it
//! ends with the owner, however that ends. Others may attach to it.

pub mod components;
mod configuration;
mod namespaces;
mod programs;
pub mod requirements;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::images::{Image, assemble};
use crate::server::wait_for;
use components::last_lines;
use programs::Program;

/// The environment variable that names the folder of a running cluster to tests.
pub const ENVIRONMENT: &str = "PULSEMESH_TESTBED_CLUSTER";
/// Where a cluster lies unless it is told otherwise.
pub const DIR: &str = "/var/tmp/pulsemesh-cluster";
/// Longest wait for one part of the cluster: seconds on an idle machine, more beside a build.
const START_MAX: Duration = Duration::from_secs(120);
/// Between two questions to what is not up yet: each costs a fifth of a second of a processor.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// Longest wait until an owner that was told to has ended its cluster.
const STOP_MAX: Duration = Duration::from_secs(90);
/// Whoever waits for the end of an owner that is gone has the lock for a moment.
const LOCK_MAX: Duration = Duration::from_secs(1);
const PAUSE: &str = include_str!("../../../testbed/kubernetes/pause/Dockerfile");
const KEEP_RUNNING: &str = include_str!("../../../testbed/kubernetes/keep-running");

/// Where a cluster is.
#[derive(Debug, Clone)]
struct Place {
    dir: PathBuf,
    components: PathBuf,
}

impl Place {
    /// Beside the folder, which is removed while the lock is held.
    fn lock(&self) -> PathBuf {
        self.dir.with_extension("lock")
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.join("logs").join(format!("{name}.log"))
    }

    fn pid_file(&self, program: &str) -> PathBuf {
        self.dir.join("pids").join(program)
    }

    /// The name of the group that all pods are in; a name is one level.
    fn cgroup(&self) -> String {
        let name = self.dir.file_name().unwrap_or_default().to_string_lossy();
        name.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-")
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.join("pki/admin.conf")
    }
}

/// A running cluster; ended when it goes, unless it was attached to.
#[derive(Debug)]
pub struct Cluster {
    place: Place,
    owner: Option<Owner>,
}

/// What only the one who started a cluster has.
#[derive(Debug)]
struct Owner {
    /// Held as long as the cluster shall be.
    lock: File,
    /// Ends when nothing of the cluster is left.
    keeper: Child,
    /// Each program's entry into the namespaces.
    programs: Vec<Child>,
}

impl Cluster {
    /// Starts a cluster in the folder `dir`, which it makes and removes, and waits until pods can
    /// run; `tell` hears what takes long. What an owner before left there is ended first.
    ///
    /// # Errors
    ///
    /// When the machine or the user can't run it (what is missing is told), or when a part of it
    /// does not start (with the end of that part's log).
    pub fn start(dir: impl AsRef<Path>, tell: &dyn Fn(&str)) -> Result<Self> {
        requirements::check()?;
        let components = components::build(tell)?;
        let place = Place { dir: whole_path(dir.as_ref())?, components };
        let lock = take(&place)?;
        namespaces::end(&place, None).context("remove what an earlier cluster left")?;
        configuration::write(&place)?;
        fs::write(place.dir.join("owner.pid"), std::process::id().to_string())
            .context("write the owner's number")?;
        let keeper = namespaces::make(&place)?;
        let owner = Owner { lock, keeper, programs: Vec::new() };
        let mut cluster = Self { place, owner: Some(owner) };
        cluster.start_all(tell)?;
        Ok(cluster)
    }

    /// The running cluster that [`ENVIRONMENT`] names.
    ///
    /// # Errors
    ///
    /// When it names none: how to have one.
    #[allow(clippy::disallowed_methods, reason = "a test has no flags")]
    pub fn from_environment() -> Result<Self> {
        let dir = std::env::var_os(ENVIRONMENT);
        Self::attach(dir.with_context(|| {
            format!("{ENVIRONMENT} names no cluster: run cargo xtask test cluster")
        })?)
    }

    /// The running cluster of another process, whose folder is `dir`.
    ///
    /// # Errors
    ///
    /// When there is none.
    pub fn attach(dir: impl AsRef<Path>) -> Result<Self> {
        let place =
            Place { dir: whole_path(dir.as_ref())?, components: components::build(&|_| ())? };
        namespaces::in_network(&place)
            .with_context(|| format!("no cluster runs in {}", place.dir.display()))?;
        Ok(Self { place, owner: None })
    }

    /// Where its files and logs are.
    pub fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// Where `kubectl`, `helm` and `kubeconform` are, and `definitions/` of optional kinds.
    pub fn components(&self) -> &Path {
        &self.place.components
    }

    /// What clients in its network read.
    pub fn kubeconfig(&self) -> PathBuf {
        self.place.kubeconfig()
    }

    /// A command that runs in the cluster's network, finds its programs, and may do everything.
    ///
    /// # Errors
    ///
    /// When the cluster has ended.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Result<Command> {
        let mut command = namespaces::in_network(&self.place)?;
        command
            .arg(program)
            .env("KUBECONFIG", self.kubeconfig())
            .env(ENVIRONMENT, self.dir())
            .env("PATH", self.path());
        Ok(command)
    }

    /// Gives all nodes the images of an archive (`docker-archive` or OCI).
    ///
    /// # Errors
    ///
    /// When it is no such archive.
    pub fn load(&self, archive: impl AsRef<Path>) -> Result<()> {
        let archive = archive.as_ref();
        let whole =
            archive.canonicalize().with_context(|| format!("find {}", archive.display()))?;
        let output =
            self.ctr()?.args(["images", "import"]).arg(&whole).output().context("run ctr")?;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "load {}: {told}", whole.display());
        Ok(())
    }

    /// Kills a program of the cluster, such as `kube-apiserver`; it is started again a second
    /// later.
    ///
    /// # Errors
    ///
    /// When no such program runs.
    pub fn kill(&self, program: &str) -> Result<()> {
        let pid = fs::read_to_string(self.place.pid_file(program));
        let pid = pid.with_context(|| format!("{program} was not started"))?;
        let killed = namespaces::inside(&self.place)?.args(["kill", "-KILL", pid.trim()]).status();
        ensure!(killed.context("run kill")?.success(), "kill {program}");
        Ok(())
    }

    /// Every write to the API server by programs in pods and by clients so far, as events of the
    /// audit log: `verb`, `user.username`, `objectRef`, `responseStatus.code`.
    ///
    /// # Errors
    ///
    /// When the log can't be read.
    pub fn writes(&self) -> Result<Vec<Value>> {
        let text = fs::read_to_string(self.place.dir.join("audit.log"));
        let text = text.context("read the audit log")?;
        // The last line may be under way.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// Waits until the API server answers.
    ///
    /// # Errors
    ///
    /// When it does not within `at_most`; with the end of its log.
    pub fn wait_api(&self, at_most: Duration) -> Result<()> {
        self.wait("kube-apiserver", at_most, &["get", "--raw", "/readyz"])
    }

    /// Ends it and removes all that it made.
    ///
    /// # Errors
    ///
    /// When something is left.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        let Some(mut owner) = self.owner.take() else { return Ok(()) };
        namespaces::end(&self.place, Some(&mut owner.keeper))?;
        for program in &mut owner.programs {
            program.wait().context("wait for a program's end")?;
        }
        release(&self.place, owner.lock)
    }

    fn start_all(&mut self, tell: &dyn Fn(&str)) -> Result<()> {
        let version = components::version().unwrap_or_default();
        tell(&format!("starting Kubernetes {version}"));
        self.spawn(&programs::servers(&self.place))?;
        self.spawn(&[programs::runtime(&self.place)])?;
        self.wait_runtime()?;
        self.load(self.pause()?)?;
        self.wait_api(START_MAX)?;
        self.spawn(&programs::others(&self.place))?;
        let class = self.place.dir.join("storage-class.yaml").display().to_string();
        self.wait("kube-apiserver", START_MAX, &["apply", "-f", &class])?;
        let account = ["get", "serviceaccount", "default"];
        self.wait("kube-controller-manager", START_MAX, &account)?;
        let node = ["wait", "--for=condition=Ready", "node/node1", "--timeout=1s"];
        self.wait("kubelet", START_MAX, &node)
    }

    fn spawn(&mut self, programs: &[Program]) -> Result<()> {
        for program in programs {
            let child = self.spawn_one(program)?;
            self.owner.as_mut().context("another owns the cluster")?.programs.push(child);
        }
        Ok(())
    }

    fn spawn_one(&self, program: &Program) -> Result<Child> {
        let log = File::create(self.place.log(program.name)).context("make a log")?;
        namespaces::inside(&self.place)?
            .args(["sh", "-c", KEEP_RUNNING, "keep-running"])
            .arg(self.place.pid_file(program.name))
            .arg(program.name)
            .args(&program.arguments)
            .env("PATH", self.path())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().context("open a log twice")?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", program.name))
    }

    /// The image of what holds the namespaces of each pod.
    fn pause(&self) -> Result<PathBuf> {
        let place = &self.place;
        let (dockerfile, archive) =
            (place.dir.join("pause.Dockerfile"), place.dir.join("pause.tar"));
        fs::write(&dockerfile, PAUSE).context("write a Dockerfile")?;
        let image = Image {
            name: "localhost/pause:1",
            dockerfile: &dockerfile,
            context: &place.components,
            stages: &[],
            arguments: &[],
        };
        assemble(&image, &archive)?;
        Ok(archive)
    }

    fn wait_runtime(&self) -> Result<()> {
        wait_for(START_MAX, "containerd", || {
            Ok(self.ctr()?.arg("version").output()?.status.success())
        })
        .with_context(|| self.log_tail("containerd"))
    }

    /// Waits until `kubectl` succeeds.
    fn wait(&self, program: &str, at_most: Duration, kubectl: &[&str]) -> Result<()> {
        wait_for(at_most, program, || {
            let output = self.command("kubectl")?.args(kubectl).output().context("run kubectl")?;
            let told = String::from_utf8_lossy(&output.stderr);
            thread::sleep(if output.status.success() { Duration::ZERO } else { ASK_AGAIN });
            ensure!(output.status.success(), "kubectl {}: {told}", kubectl.join(" "));
            Ok(true)
        })
        .with_context(|| self.log_tail(program))
    }

    fn ctr(&self) -> Result<Command> {
        let mut ctr = namespaces::inside(&self.place)?;
        ctr.args(["ctr", "--namespace", "k8s.io", "--address"])
            .arg(self.place.dir.join("containerd.sock"));
        Ok(ctr)
    }

    fn log_tail(&self, program: &str) -> String {
        let log = fs::read(self.place.log(program)).unwrap_or_default();
        format!("the log of {program}:\n{}", last_lines(&String::from_utf8_lossy(&log), 20))
    }

    /// Its own programs before the machine's.
    #[allow(clippy::disallowed_methods, reason = "where programs are found has no flag")]
    fn path(&self) -> String {
        let path = std::env::var("PATH").unwrap_or_default();
        format!("{}:{path}:/usr/sbin:/sbin", self.place.components.display())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // What can't be ended here is ended once the lock is free.
        let _ = self.end();
    }
}

/// Tells the owner of the cluster in `dir` to end it, and waits until it has; removes what an
/// owner left that was killed.
///
/// # Errors
///
/// When the cluster does not end.
pub fn stop(dir: impl AsRef<Path>) -> Result<()> {
    let dir = whole_path(dir.as_ref())?;
    let place = Place { dir, components: PathBuf::new() };
    if !place.dir.exists() {
        bail!("no cluster runs in {}", place.dir.display());
    }
    if let Ok(text) = fs::read_to_string(place.dir.join("owner.pid"))
        && try_take(&place).is_err()
    {
        let pid = text.trim().parse().ok().and_then(Pid::from_raw);
        kill_process(pid.context("the owner has no number")?, Signal::TERM)
            .context("tell the owner to end")?;
        return wait_for(STOP_MAX, "the cluster's end", || Ok(!place.lock().exists()));
    }
    let lock = take(&place)?;
    namespaces::end(&place, None)?;
    release(&place, lock)
}

/// Removes the lock while it is held, so that nobody takes one that is gone.
fn release(place: &Place, lock: File) -> Result<()> {
    fs::remove_file(place.lock()).context("remove the lock")?;
    drop(lock);
    Ok(())
}

/// Programs inside the cluster are in another folder.
fn whole_path(dir: &Path) -> Result<PathBuf> {
    std::path::absolute(dir).with_context(|| format!("find {}", dir.display()))
}

/// Locks the place for as long as the file is open.
fn take(place: &Place) -> Result<File> {
    let mut lock = None;
    wait_for(LOCK_MAX, "the lock", || {
        lock = Some(try_take(place)?);
        Ok(true)
    })
    .with_context(|| format!("a cluster runs in {}", place.dir.display()))?;
    lock.context("the lock was not taken")
}

fn try_take(place: &Place) -> Result<File> {
    use std::os::unix::fs::MetadataExt;
    let path = place.lock();
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
    }
    let lock = File::create(&path).with_context(|| format!("make {}", path.display()))?;
    lock.try_lock().context("lock it")?;
    // The last owner may have removed it in between.
    let same = fs::metadata(&path).is_ok_and(|now| {
        lock.metadata().is_ok_and(|own| (own.dev(), own.ino()) == (now.dev(), now.ino()))
    });
    ensure!(same, "it was removed");
    Ok(lock)
}
