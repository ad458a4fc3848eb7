//! The program `hezong`; what it does is in `lib.rs`.

use std::process::ExitCode;

/// Most of what a node allocates is small, short-lived, and freed by another thread than the one that allocated it, which
/// is where the system's allocator is slowest.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    hezong_server::main()
}
