//! Answers of a driver that a test compiles (`tests/fixtures/driver.c`), and what is made of them.

use std::{path::Path, process::Command};

use super::{unsafe_driver::ask, *};

thread_local! {
    /// Cards that this thread takes for usable, and that compute on the processor.
    pub(crate) static CARDS: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
}

const BUILD: Build = Build {
    cuda: Version(13, 0),
    capability: Version(8, 0),
};

/// What the stand-in answers when it is compiled so.
fn answer(options: &[&str]) -> Result<Driver, Silence> {
    let folder = tempfile::tempdir().expect("a folder");
    let library = folder.path().join("libcuda.so.1");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/driver.c");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-shared", "-fPIC", "-o"])
        .arg(&library)
        .args(options)
        .arg(source);
    assert!(
        compiler
            .status()
            .expect("the linker of Rust is a C compiler")
            .success()
    );
    ask(&library.display().to_string())
}

fn refusal(
    number: u32,
    build: Option<Build>,
    driver: Result<&Driver, Failure>,
) -> (String, String) {
    let failure = check(number, build, driver).expect_err("cannot be used");
    assert_eq!(failure.kind, FailureKind::Device);
    assert!(
        failure.message.contains(&format!("`cuda:{number}`")),
        "{}",
        failure.message
    );
    (failure.message, failure.hint.expect("a hint"))
}

#[test]
fn cards_are_read() {
    let driver = answer(&["-DCARDS=2", "-DCAPABILITY=90", "-DVERSION=12080"]).expect("answers");
    assert_eq!(driver.cuda, Version(12, 8));
    let card = |number: u64| Card {
        name: format!("Stand-in {number}"),
        uuid: format!("GPU-ab000000-0000-0000-0000-00000000000{number}"),
        capability: Version(9, 0),
        bytes: (number + 1) << 30,
    };
    assert_eq!(driver.cards, [card(0), card(1)]);
}

#[test]
fn a_driver_without_cards_is_no_error() {
    let driver = answer(&["-DCARDS=0"]).expect("answers");
    assert_eq!((driver.cuda, driver.cards.len()), (Version(13, 0), 0));
    let (message, hint) = refusal(0, Some(BUILD), Ok(&driver));
    assert!(
        message.contains("0 cards") && hint.contains("CUDA_VISIBLE_DEVICES"),
        "{message}"
    );
}

#[test]
fn a_driver_that_fails_says_why() {
    let silence = answer(&["-DFAILS=803"]).expect_err("cannot be initialised");
    let failure = Failure::from(silence);
    assert_eq!(
        failure.message,
        "NVIDIA's driver fails: `cuInit` gives 803 (system has unsupported display driver / cuda driver combination)"
    );
    let unknown = Failure::from(answer(&["-DFAILS=999"]).expect_err("fails"));
    assert!(
        unknown.message.contains("999 (unknown)"),
        "{}",
        unknown.message
    );
}

#[test]
fn no_driver_and_no_feature_are_told_apart() {
    let absent = Failure::from(ask("libcuda-that-is-nowhere.so.1").expect_err("is nowhere"));
    assert!(
        absent
            .message
            .contains("no NVIDIA driver here (libcuda-that-is-nowhere.so.1:"),
        "{}",
        absent.message
    );
    let (message, hint) = refusal(1, Some(BUILD), Err(absent.clone()));
    assert!(message.contains("no NVIDIA driver") && hint.contains("install NVIDIA's driver"));
    let driver = answer(&[]).expect("answers");
    for driver in [Ok(&driver), Err(absent)] {
        let (message, hint) = refusal(1, None, driver);
        assert!(
            message.contains("without the feature `cuda`") && hint.contains("kernel/cuda/build.sh")
        );
    }
}

#[test]
fn kernels_for_older_cards_compute_in_halves() {
    let turing = Build {
        capability: Version(7, 5),
        ..BUILD
    };
    assert_eq!(short_dtype_of(Some(turing)), candle_core::DType::F16);
    assert_eq!(short_dtype_of(Some(BUILD)), candle_core::DType::BF16);
}

#[test]
fn a_card_or_driver_that_is_too_old_is_refused() {
    let old = answer(&["-DCAPABILITY=75"]).expect("answers");
    let (message, hint) = refusal(0, Some(BUILD), Ok(&old));
    assert!(
        message.contains("capability 7.5") && message.contains("need 8.0"),
        "{message}"
    );
    assert!(hint.contains("CUDA_COMPUTE_CAP=75"), "{hint}");
    let old = answer(&["-DVERSION=12040"]).expect("answers");
    let (message, hint) = refusal(0, Some(BUILD), Ok(&old));
    assert!(
        message.contains("CUDA 12.4") && hint.contains("580"),
        "{message}"
    );
    let newer = answer(&["-DVERSION=13010", "-DCAPABILITY=120"]).expect("answers");
    assert_eq!(check(0, Some(BUILD), Ok(&newer)), Ok(()));
    assert!(refusal(1, Some(BUILD), Ok(&newer)).1.contains("`cuda:0`"));
}

#[test]
fn auto_says_so_where_a_card_could_be_expected() {
    let refused = || Err(Failure::new(FailureKind::Device, "refused").hint("do this"));
    let (none, one) = (
        answer(&["-DCARDS=0"]).expect("answers"),
        answer(&[]).expect("answers"),
    );
    assert_eq!(
        choose(Some(BUILD), Ok(&one), Ok(())),
        (Device::Cuda(0), None)
    );
    assert_eq!(choose(None, Ok(&none), refused()), (Device::Cpu, None));
    let absent = Failure::new(FailureKind::Device, "absent");
    assert_eq!(
        choose(None, Err(absent.clone()), refused()),
        (Device::Cpu, None)
    );
    for (build, driver) in [
        (None, Ok(&one)),
        (Some(BUILD), Ok(&none)),
        (Some(BUILD), Err(absent)),
    ] {
        let (device, line) = choose(build, driver, refused());
        assert_eq!(device, Device::Cpu);
        assert_eq!(
            line.as_deref(),
            Some("`auto` takes the CPU: refused (do this)")
        );
    }
}

#[test]
fn a_kernels_header_says_what_it_needs() {
    let text = "//\n// Based on NVVM 20.0.0\n//\n\n.version 9.0\n.target sm_80\n.address_size 64\n";
    assert_eq!(Build::of_kernel(text), Some(BUILD));
    let of = |version: &str, target: &str| {
        Build::of_kernel(&format!(".version {version}\n.target {target}\n"))
    };
    let expected = Build {
        cuda: Version(12, 7),
        capability: Version(12, 1),
    };
    assert_eq!(of("8.7", "sm_121a, debug"), Some(expected));
    assert_eq!(Build::of_kernel(""), None);
}
