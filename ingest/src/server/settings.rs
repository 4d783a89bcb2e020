//! The bounds and times of the server.

use std::time::Duration;

/// Every bound and time of the server. The defaults are those of the settings table.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerSettings {
    /// Serving threads; each has a runtime of its own.
    pub threads: usize,
    /// Connections beyond which the longest idle one makes room. Lowered to what the process
    /// may have open ([`super::connections_bound`]).
    pub connections_max: usize,
    /// HTTP/2 streams open at once on one connection.
    pub streams_max: u32,
    /// Bytes reserved for the bodies of all requests that are not answered.
    pub bytes_in_flight_max: u64,
    /// Largest body as sent, in bytes.
    pub body_bytes_max: u64,
    /// Largest body once decompressed, in bytes.
    pub decompressed_bytes_max: usize,
    /// How many times its size a compressed body may expand to.
    pub decompress_ratio_max: usize,
    /// From a connection's start, or a request's first byte, to the end of its head.
    pub header_timeout: Duration,
    /// Between two requests of a connection.
    pub idle_timeout: Duration,
    /// For a whole body.
    pub body_timeout: Duration,
    /// Between two pieces of a body.
    pub body_stall_timeout: Duration,
    /// From the end of a body until its answer is ready.
    pub handler_timeout: Duration,
    /// For a query, its wait for a turn included.
    pub query_timeout: Duration,
    /// Until the client has taken the whole answer.
    pub answer_timeout: Duration,
    /// Queries that run at once; further ones wait their turn.
    pub queries_max: usize,
    /// What bodies get to arrive once the process stops.
    pub stop_body_timeout: Duration,
    /// After so long everything that is left is cut.
    pub stop_timeout: Duration,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            connections_max: 4_096,
            streams_max: 128,
            bytes_in_flight_max: 64 * 1024 * 1024,
            body_bytes_max: 8 * 1024 * 1024,
            decompressed_bytes_max: 32 * 1024 * 1024,
            decompress_ratio_max: 100,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_timeout: Duration::from_secs(30),
            body_stall_timeout: Duration::from_secs(10),
            handler_timeout: Duration::from_secs(30),
            query_timeout: Duration::from_secs(10),
            answer_timeout: Duration::from_secs(30),
            queries_max: 16,
            stop_body_timeout: Duration::from_secs(5),
            stop_timeout: Duration::from_secs(10),
        }
    }
}
