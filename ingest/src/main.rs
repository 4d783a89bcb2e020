//! The binary: sets the allocator and hands over to the command line.

use std::process::ExitCode;

/// Many small allocations on several threads, freed on others: what the system's is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    pulsemesh_ingest::cli::main()
}
