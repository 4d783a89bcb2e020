//! Tells a client whose connection finds no room that it may come back, without HTTP: nothing
//! is read but to let the answer arrive.

use std::net::TcpStream;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::code::Code;
use crate::response::Answer;

use super::service::jitter;
use super::thread::Permit;

/// How long a refused client is read from. It need not be long: it has its answer already.
const LINGER: Duration = Duration::from_millis(500);
const LINGER_BYTES_MAX: u64 = 64 * 1024;

/// Answers 503 and closes.
pub(super) async fn refuse(stream: TcpStream, permit: Permit) {
    let refused = async {
        let mut stream = tokio::net::TcpStream::from_std(stream)?;
        stream.write_all(&answer()).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(LINGER_BYTES_MAX), &mut tokio::io::sink()).await
    };
    // A client that does not take it, or not in time, is closed all the same.
    let _ = timeout(LINGER, refused).await;
    drop(permit);
}

fn answer() -> Vec<u8> {
    let answer = Answer::problem(&Code::Overloaded.into(), None, jitter());
    let mut bytes = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {}\r\ncontent-length: {}\r\n\
         retry-after: {}\r\nconnection: close\r\n\r\n",
        answer.media.as_str(),
        answer.body.len(),
        answer.retry_after_s.unwrap_or(1),
    )
    .into_bytes();
    bytes.extend_from_slice(&answer.body);
    bytes
}
