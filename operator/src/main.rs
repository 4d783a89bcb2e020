//! The binary: sets the allocator and hands over to the command line.

use std::process::ExitCode;

/// Gives memory back after a burst; the same as the ingest's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pulsemesh_operator::cli::main()
}
