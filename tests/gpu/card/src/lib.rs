//! A stand-in for a card and NVIDIA's driver, cuBLAS and cuRAND, as far as this project calls them: it runs the very text
//! of kernels that a driver would compile, on the processor, and faults on much that a card leaves undefined (`run`). So
//! launches, their arguments, copies, allocations, and what becomes of a card that is full or lost can be tried where there is no
//! card. Nothing follows from it about speed, nor of what several streams do at once: all is done when it is asked for,
//! though it can look as if that took its time.
//!
//! What it is, the environment says, by variables that begin with `STANDIN_`: `CARDS` how many cards (1), `CARD_BYTES` the
//! memory of each (4 GiB), `CARD_CAPABILITY` its compute capability (`8.0`), `CARD_TAKEN=1` that another program has it for
//! itself, `CARD_LOST_AFTER` after how many launches it is lost (never), `CARD_FULL_AT` which allocation fails though there
//! is room (none), `CARD_FULL_COUNT` how many from there on (1), `CARD_SEED` by which the order of warps is drawn (by the
//! clock), `CARD_LOG` a file for a line of each launch, copy and allocation, `CARD_IDLE=1` that nothing is computed: what is
//! left of the time is the host's. `CARD_LAUNCH_MICROS` is how long each launch takes, one after the other, while the host
//! goes on: who waits for the card, or copies from it, waits for all of them (0).

mod access;
mod block;
pub mod decode;
mod exchange;
mod image;
pub mod lanes;
pub mod machine;
pub mod memory;
pub mod numbers;
pub mod program;
pub mod run;
pub mod text;
mod unsafe_blas;
mod unsafe_driver;
mod unsafe_memory;
mod unsafe_random;
mod warp;
pub mod work;
