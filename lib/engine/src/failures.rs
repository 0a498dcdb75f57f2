//! How the errors of libraries become the failures a user reads. Which failure a condition is, is
//! decided where it is found; here are only the conversions that many places share.

use std::{any::Any, path::Path};

use wire::{Failure, FailureKind, model::Device};

use crate::{cuda, memory::Shortage};

/// A file that could not be read.
pub fn io(path: &Path, error: &std::io::Error) -> Failure {
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => FailureKind::NotFound,
        std::io::ErrorKind::UnexpectedEof => FailureKind::Corrupt,
        _ => FailureKind::Io,
    };
    Failure::new(kind, format!("cannot read `{}`: {error}", path.display()))
}

/// A file or folder that could not be written.
pub fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::new(
        FailureKind::Io,
        format!("cannot write `{}`: {error}", path.display()),
    );
    failure.hint(match error.kind() {
        std::io::ErrorKind::StorageFull => "make room on the disk, or choose another folder",
        _ => "choose a folder that you may write to",
    })
}

/// A file that is not what it says.
pub fn corrupt(path: &Path, what: impl std::fmt::Display) -> Failure {
    Failure::new(
        FailureKind::Corrupt,
        format!("`{}` is damaged: {what}", path.display()),
    )
    .hint("delete the file and fetch it again")
}

/// What a panic said.
pub fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

/// A tensor operation that failed: for want of memory, because its card did, or on shapes this program chose.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape that `map_err` takes"
)]
pub fn internal(error: candle_core::Error) -> Failure {
    if let Some(shortage) = shortage(&error) {
        return Failure::new(FailureKind::OutOfMemory, shortage.to_string()).hint(
            "shorten the text, unload a model that is not needed (`%unload`), or keep the cache in 16 bits \
             (`cache_dtype`)",
        );
    }
    let text = told(&error);
    if cuda::is_out_of_memory(&text) {
        return Failure::new(
            FailureKind::OutOfMemory,
            format!("the card has no memory left for what is computed: {text}"),
        )
        .hint("shorten the text or the batch, or unload a model that is not needed (`%unload`)");
    }
    if cuda::is_loss(&text) {
        cuda::lose();
        return Failure::new(
            FailureKind::Device,
            format!("the card failed, and no more can be computed on it by this process: {text}"),
        )
        .hint(
            "the model host ends and the next request starts another; `nvidia-smi` and the kernel's log (`dmesg`) say \
             what became of the card",
        );
    }
    Failure::new(
        FailureKind::Internal,
        format!("tensor operation failed: {text}"),
    )
}

/// The device that lacks memory, where that is known, and the bytes, at least one; `None` of other errors.
pub(crate) fn missing(error: &candle_core::Error) -> Option<(Option<Device>, u64)> {
    if let Some(shortage) = shortage(error) {
        return Some((Some(shortage.device), shortage.missing()));
    }
    cuda::is_out_of_memory(&told(error)).then_some((None, 1))
}

/// A card that is there and cannot be opened. It is not lost: who has it may let it go.
pub(crate) fn unopened(number: u32, error: &candle_core::Error) -> Failure {
    let message = format!("`cuda:{number}` cannot be opened: {}", said(error));
    Failure::new(FailureKind::Device, message).hint(
        "see what `nvidia-smi` says: another program may have the card for itself, or all of its memory; or use the \
         device `cpu`",
    )
}

/// What an error says, and what it comes from.
fn told(error: &candle_core::Error) -> String {
    let text = said(error);
    match cuda::reason(&text) {
        Some(reason) => format!("{text} ({reason})"),
        None => text,
    }
}

/// What an error says, without the calls that led to it: those are for who debugs this program, and candle adds them
/// where `RUST_BACKTRACE` is set.
fn said(error: &candle_core::Error) -> String {
    match error {
        candle_core::Error::WithBacktrace { inner, .. } => said(inner),
        candle_core::Error::Context { inner, context } => format!("{context}\n{}", said(inner)),
        candle_core::Error::WithPath { inner, path } => {
            format!("`{}`: {}", path.display(), said(inner))
        }
        _ => error.to_string(),
    }
}

/// The shortage that an error is of; `None` of others.
fn shortage(error: &candle_core::Error) -> Option<&Shortage> {
    match error {
        candle_core::Error::WithBacktrace { inner, .. }
        | candle_core::Error::WithPath { inner, .. }
        | candle_core::Error::Context { inner, .. } => shortage(inner),
        candle_core::Error::WrappedContext { wrapped, .. } => wrapped.downcast_ref(),
        _ => None,
    }
}

/// An argument that cannot be right.
pub fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::InvalidArgument, message)
}

/// Something that this program does not do.
pub fn unsupported(message: impl Into<String>) -> Failure {
    Failure::new(FailureKind::Unsupported, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_out_of_memory_and_a_broken_card_is_lost() {
        let shortage = Shortage {
            what: "it".to_owned(),
            device: Device::Cuda(0),
            wanted: 9_000_000,
            available: 4_000_000,
        };
        assert_eq!(shortage.missing(), 5_000_000 + (64 << 20));
        let error = candle_core::Error::from(shortage.clone()).context("in a layer");
        let failure = internal(error);
        assert_eq!(
            (failure.kind, failure.message),
            (FailureKind::OutOfMemory, shortage.to_string())
        );
        let driver = |what: &str| candle_core::Error::msg(format!("DriverError({what}, \"…\")"));
        let failure = internal(driver("CUDA_ERROR_OUT_OF_MEMORY"));
        assert_eq!(failure.kind, FailureKind::OutOfMemory);
        assert!(!cuda::is_lost());
        let failure = internal(driver("CUDA_ERROR_INVALID_VALUE"));
        assert_eq!(failure.kind, FailureKind::Internal);
        assert!(!cuda::is_lost());
        let failure = internal(driver("CUDA_ERROR_ECC_UNCORRECTABLE"));
        assert_eq!(failure.kind, FailureKind::Device);
        assert!(cuda::is_lost());
    }

    #[test]
    fn the_calls_that_led_to_an_error_are_not_said() {
        let error = candle_core::Error::WithBacktrace {
            inner: Box::new(candle_core::Error::msg("no such row")),
            backtrace: Box::new(std::backtrace::Backtrace::force_capture()),
        };
        let failure = internal(error.context("in a layer"));
        assert_eq!(
            failure.message,
            "tensor operation failed: in a layer\nno such row"
        );
    }
}
