//! Fuzzing on stable Rust: every decoder of bytes from outside, and every `handle`, fed with what nobody should send.
//!
//! A [`Target`] is a function of bytes, with a maker of inputs that begin as valid ones. The [driver](drive) spoils them and
//! sees that none makes the target panic, take more memory than its size warrants, or take long. What fails is shrunk,
//! saved, and run again by name; what was found once stays in `found/` and is run at every build.
//!
//! **Nothing guides it**: coverage is not looked at, so that a case behind a chain of narrow conditions is met by luck or
//! not at all. What stands in its place is that inputs are made by the real encoders, that checksums and lengths are set
//! right again after the damage, and that the protocols are driven by inputs near what they know. The functions take
//! plain bytes, so that a fuzzer with coverage can drive them as they are.
//!
//! Own code rather than a library: `arbtest` and `bolero` draw random bytes on stable Rust, and spoil no inputs made by an
//! encoder, which here is most of the work; a driver without coverage is the small rest of it.
//!
//! | file | holds |
//! |---|---|
//! | `targets.rs`, `targets/` | what is fuzzed, and how inputs are made |
//! | `spoil.rs` | what is done to a valid input |
//! | `drive.rs` | one input judged; many drawn; one that fails made smaller |
//! | `main.rs` | the command, with the allocator that measures |
//!
//! # What a target asserts beside not to panic
//! What is decoded is the same once encoded and decoded again. A protocol takes back nothing it announced, and says nothing that
//! is not on disk (`targets/alone.rs`). A state machine that was given nonsense takes the next entry all the same.
//!
//! # Left out
//! What a client reads of replies. Bytes of the state store are fjall's, of TLS rustls's, of HTTP heads hyper's.

#![forbid(unsafe_code)]

pub mod drive;
pub mod spoil;
pub mod targets;

pub use drive::{Failure, Meter, Tally, drive, judge, shrink};
pub use targets::{ALL, Target};
