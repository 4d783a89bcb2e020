//! The accept loop: takes connections from the listener and hands each to the serving thread
//! with the fewest. Never waits for a client, and never ends because of one.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::sleep;
use tracing::warn;

use super::thread::{Arrival, Permit, Serving};

/// Connections above the bound that may be on their way out while others are on their way in.
/// More than these, and accepting waits for them.
const LEAVING_MAX: usize = 128;
/// Connections that the kernel holds until they are accepted; it lowers this to its own bound.
const WAITING_MAX: u32 = 4_096;
/// Open files that are kept for what is not a connection: log, store, listeners, outgoing.
const OTHER_FILES: u64 = 256;
/// Fewest connections that are served whatever the limits are.
const CONNECTIONS_MIN: u64 = 16;
/// Pause after an error that will not go away at once, such as no more open files.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause while connections leave.
const LEAVE_PAUSE: Duration = Duration::from_millis(1);

/// Binds a listener for [`super::serve`], with room for a burst of connections: beyond the room
/// the kernel drops the client's first packet, and it tries again only after a second.
///
/// # Errors
/// When the address can't be bound, or outside a runtime's reactor.
pub fn bind(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A restart must not wait for the last process's connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(WAITING_MAX)?.into_std()
}

/// How many connections may be open: what was asked for, and not more than the process may have
/// open beside its other files.
pub fn connections_bound(wanted: usize) -> usize {
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    bound(wanted, files)
}

fn bound(wanted: usize, files: u64) -> usize {
    let spare = OTHER_FILES + LEAVING_MAX as u64;
    let room = files.saturating_sub(spare).max(CONNECTIONS_MIN);
    wanted.min(usize::try_from(room).unwrap_or(usize::MAX)).max(1)
}

/// Accepts for ever.
pub(super) async fn accept(listener: &TcpListener, threads: &[Serving], connections_max: usize) {
    let mut failing = false;
    loop {
        let open = open(threads);
        if open >= connections_max + LEAVING_MAX {
            sleep(LEAVE_PAUSE).await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                failing = false;
                hand_over(stream, threads, open >= connections_max);
            }
            Err(source) if of_one_connection(&source) => {}
            Err(source) => {
                // Logged once, not fifty times a second for as long as it lasts.
                if !std::mem::replace(&mut failing, true) {
                    warn!(error = %source, "accept failed");
                }
                sleep(PAUSE).await;
            }
        }
    }
}

/// Connections that are open.
pub(super) fn open(threads: &[Serving]) -> usize {
    threads.iter().map(|thread| thread.load.connections.load(Ordering::Relaxed)).sum()
}

fn hand_over(stream: TcpStream, threads: &[Serving], evict: bool) {
    let connections = |thread: &&Serving| thread.load.connections.load(Ordering::Relaxed);
    let thread = if evict {
        // Connections are spread evenly: where most are idle is the one that is idle longest.
        threads.iter().max_by_key(|thread| thread.load.idle())
    } else {
        threads.iter().min_by_key(connections)
    };
    let Some(thread) = thread else { return };
    // Off this runtime's reactor; the thread has its own.
    let Ok(stream) = stream.set_nodelay(true).and_then(|()| stream.into_std()) else { return };
    let permit = Permit::new(&thread.load);
    match thread.arrivals.try_send(Arrival { stream, permit, evict }) {
        // As many fit as may be open. A thread that has ended is noticed elsewhere.
        Ok(()) | Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {}
    }
}

/// Errors that say something of the connection that was to be accepted, not of the listener.
fn of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_room_for_other_files() {
        let cases = [
            (10_000, u64::MAX, 10_000),
            (10_000, 20_000, 10_000),
            (10_000, 1_024, 640),
            (10_000, 64, 16),
            (4, 64, 4),
            (0, 1_024, 1),
        ];
        for (wanted, files, expected) in cases {
            assert_eq!(bound(wanted, files), expected, "{wanted} of {files}");
        }
    }
}
