//! Resolving models against the stand-in hub: every fault has its own error, no fault leaves a
//! corrupt cache, and bytes that were fetched once are not fetched again.

#![expect(clippy::unwrap_used, reason = "a failed step of a test ends it")]

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use engine::{
    Cancel,
    hub::{HubConfig, Layout, ModelFiles, Wanted, resolve},
};
use standin_hub::{COMMIT, Fault, Repository, StandinHub};
use tempfile::TempDir;
use wire::{
    Failure, FailureKind,
    host::{Event, Stage},
    hub::HubVariables,
    model::ModelSource,
};

const REPO: &str = "acme/tiny";
const SIZE: usize = 300_000;

/// A stand-in hub with one GGUF repository, and an empty cache.
struct Bench {
    hub: StandinHub,
    folder: TempDir,
    config: HubConfig,
}

impl Bench {
    fn new(fault: Option<Fault>) -> Self {
        Self::serving(Repository::new(REPO).file("tiny.gguf", contents()), fault)
    }

    fn serving(repository: Repository, fault: Option<Fault>) -> Self {
        let hub = StandinHub::start(vec![repository]).unwrap();
        hub.set_fault(REPO, fault);
        let folder = tempfile::tempdir().unwrap();
        let config = HubConfig {
            endpoint: hub.endpoint(),
            cache_dir: folder.path().join("hub"),
            token: None,
            offline: false,
            data_dir: folder.path().join("data"),
            stall_timeout: Duration::from_secs(20),
        };
        Self {
            hub,
            folder,
            config,
        }
    }

    fn resolve(&self, source: &ModelSource) -> Result<ModelFiles, Failure> {
        resolve(
            &self.config,
            source,
            Wanted::Model,
            &Cancel::new(),
            &mut |_| {},
        )
    }

    fn failure(&self, source: &ModelSource) -> String {
        let failure = self.resolve(source).unwrap_err();
        self.assert_no_blob();
        format!("{}: {failure}", failure.kind.name())
    }

    /// No file of the cache has a blob's name or a snapshot's.
    fn assert_no_blob(&self) {
        let repo = self.config.cache_dir.join("models--acme--tiny");
        if let Ok(blobs) = fs::read_dir(repo.join("blobs")) {
            for blob in blobs {
                let name = blob.unwrap().file_name().into_string().unwrap();
                assert!(name.ends_with(".incomplete"), "blob after a fault: {name}");
            }
        }
        assert!(!repo.join("snapshots").exists());
    }
}

fn contents() -> Vec<u8> {
    (0..SIZE).map(|i| (i * 31 % 251) as u8).collect()
}

fn tiny() -> ModelSource {
    ModelSource::new(REPO)
}

fn read(files: &ModelFiles) -> Vec<u8> {
    match &files.layout {
        Layout::Gguf(path) => fs::read(path).unwrap(),
        Layout::Folder(path) => panic!("a folder: {}", path.display()),
    }
}

#[test]
fn fetches_once_in_pythons_layout_with_progress() {
    let bench = Bench::new(None);
    let mut events = Vec::new();
    let files = resolve(
        &bench.config,
        &tiny(),
        Wanted::Model,
        &Cancel::new(),
        &mut |event| events.push(event),
    )
    .unwrap();
    assert_eq!(read(&files), contents());
    let Some(Event::Progress(last)) = events.last() else {
        panic!("no progress: {events:?}");
    };
    assert_eq!(
        (last.stage, last.done, last.total),
        (Stage::Download, SIZE as u64, Some(SIZE as u64))
    );
    let repo = bench.config.cache_dir.join("models--acme--tiny");
    assert_eq!(fs::read_to_string(repo.join("refs/main")).unwrap(), COMMIT);
    let pointer = repo.join("snapshots").join(COMMIT).join("tiny.gguf");
    assert!(fs::read_link(pointer).unwrap().starts_with("../../blobs"));

    bench.resolve(&tiny()).unwrap();
    let served = bench.hub.served();
    assert_eq!((served.gets, served.bytes), (1, SIZE as u64));
}

#[test]
fn each_fault_has_its_own_error_and_leaves_no_blob() {
    let cases = [
        (
            Fault::Gated,
            None,
            "GatedRepository: cannot fetch `acme/tiny`: its licence has to be accepted first\nhint: accept the licence at {hub}/acme/tiny, then set HF_TOKEN to a token of that account",
        ),
        (
            Fault::Gated,
            Some("hf_secret"),
            "GatedRepository: cannot fetch `acme/tiny`: the account of your token has no access to it\nhint: accept the licence at {hub}/acme/tiny with that account, or wait until its owner grants your request",
        ),
        (
            Fault::WrongToken,
            Some("hf_secret"),
            "Unauthorized: cannot fetch `acme/tiny`: the hub refused your token\nhint: set HF_TOKEN to a valid token from {hub}/settings/tokens",
        ),
        (
            Fault::WrongContents,
            None,
            "CorruptFile: `tiny.gguf` from `acme/tiny` came damaged: its contents do not match the hash that the hub gives\nhint: run it again; if it stays so, a proxy or mirror between here and the hub alters it",
        ),
        (
            Fault::Compressed,
            None,
            "CorruptFile: cannot fetch `tiny.gguf` from `acme/tiny`: it came encoded as \"gzip\", and was asked for as it is\nhint: run it again; if it stays so, a proxy or mirror between here and the hub alters it",
        ),
        (
            Fault::Forbidden {
                message: Some("Access to this resource is disabled."),
            },
            None,
            "Unauthorized: cannot fetch `acme/tiny`: 127.0.0.1 says: Access to this resource is disabled.\nhint: see {hub}/acme/tiny; if it is to be read with a token, set HF_TOKEN to one",
        ),
        (
            Fault::Forbidden { message: None },
            None,
            "Unauthorized: cannot fetch `acme/tiny`: 127.0.0.1 does not let it be read without a token\nhint: see {hub}/acme/tiny; if it is to be read with a token, set HF_TOKEN to one",
        ),
        (
            Fault::Forbidden { message: None },
            Some("hf_secret"),
            "Unauthorized: cannot fetch `acme/tiny`: your token may not read it\nhint: give the token read access to this repository's contents, or use another",
        ),
    ];
    for (fault, token, expected) in cases {
        let mut bench = Bench::new(Some(fault));
        bench.config.token = token.map(str::to_owned);
        let expected = expected.replace("{hub}", &bench.hub.endpoint());
        assert_eq!(bench.failure(&tiny()), expected);
    }
}

/// Every hint once named the public hub, whatever `HF_ENDPOINT` said.
#[test]
fn a_mirror_is_shown_without_who_asks_it() {
    let mut bench = Bench::new(Some(Fault::Gated));
    bench.config.endpoint = bench.hub.endpoint().replace("//", "//me:secret@");
    let failure = bench.failure(&tiny());
    let page = format!("{}/acme/tiny,", bench.hub.endpoint());
    assert!(
        failure.contains(&page) && !failure.contains("secret"),
        "{failure}"
    );
}

/// A server that has less than the hub says once was asked for the rest without end.
#[test]
fn a_size_that_is_not_the_servers_ends_the_download() {
    for size in [SIZE + 1000, 1 << 62, 100] {
        let bench = Bench::new(Some(Fault::Announced { size }));
        assert_eq!(
            bench.failure(&tiny()),
            format!(
                "CorruptFile: cannot fetch `tiny.gguf` from `acme/tiny`: the hub says that it has {size} bytes, the server has {SIZE}\nhint: run it again; if it stays so, a proxy or mirror between here and the hub alters it"
            )
        );
    }
    // What an earlier try left may be all that the server has.
    let bench = Bench::new(Some(Fault::Cut {
        after: 0,
        times: 99,
    }));
    bench.resolve(&tiny()).unwrap_err();
    let blobs = bench.config.cache_dir.join("models--acme--tiny/blobs");
    let left = fs::read_dir(&blobs).unwrap().next().unwrap().unwrap();
    fs::write(left.path(), contents()).unwrap();
    let size = SIZE + 1000;
    bench.hub.set_fault(REPO, Some(Fault::Announced { size }));
    let failure = bench.failure(&tiny());
    assert!(failure.contains("the server has 300000"), "{failure}");
}

/// Bytes that came before once counted as progress when they came again, and it was tried without end.
#[test]
fn a_server_that_starts_over_and_never_gets_to_the_end_is_given_up() {
    let bench = Bench::new(Some(Fault::CutWhole { after: 1000 }));
    let failure = bench.failure(&tiny());
    assert!(
        failure.starts_with(
            "Offline: the download of `tiny.gguf` from `acme/tiny` stopped at 1000 of 300000 bytes: "
        ),
        "{failure}"
    );
    assert_eq!(bench.hub.served().bytes, 4000);
}

#[test]
fn what_does_not_exist_is_named() {
    let bench = Bench::new(None);
    assert_eq!(
        bench.failure(&ModelSource::new("acme/none")),
        "NotFound: cannot fetch `acme/none`: no such repository, or a private one\nhint: check the spelling; for a private repository set HF_TOKEN"
    );
    let mut source = tiny();
    source.revision = Some("v9".to_owned());
    assert_eq!(
        bench.failure(&source),
        "NotFound: `acme/tiny` has no revision `v9`\nhint: give a branch, a tag or a full commit id; `main` is the default"
    );
    let mut source = tiny();
    source.gguf_file = Some("Tiny.Q4.gguf".to_owned());
    assert_eq!(
        bench.failure(&source),
        "NotFound: `acme/tiny` has no file `Tiny.Q4.gguf`\nhint: close to it: `tiny.gguf`"
    );
}

#[test]
fn several_gguf_files_are_listed() {
    let repository = Repository::new(REPO)
        .file("a.gguf", "a")
        .file("b.gguf", "b");
    let bench = Bench::serving(repository, None);
    assert_eq!(
        bench.failure(&tiny()),
        "InvalidArgument: `acme/tiny` has 2 GGUF files and none was chosen\nhint: set `gguf_file` to one of `a.gguf`, `b.gguf`"
    );
}

#[test]
fn a_gguf_in_parts_comes_whole_or_not_at_all() {
    let part = |number| format!("big-0000{number}-of-00002.gguf");
    let whole = Repository::new(REPO)
        .file(&part(1), "first")
        .file(&part(2), "second");
    let bench = Bench::serving(whole, None);
    let mut source = tiny();
    for file in [None, Some(part(2)), Some(part(1))] {
        source.gguf_file = file;
        let files = bench.resolve(&source).unwrap();
        assert_eq!(read(&files), b"first");
        let Layout::Gguf(path) = &files.layout else {
            panic!("a folder");
        };
        assert_eq!(fs::read(path.with_file_name(part(2))).unwrap(), b"second");
    }
    assert_eq!(bench.hub.served().bytes, 11);
    let half = Repository::new(REPO).file(&part(1), "first");
    let failure = Bench::serving(half, None).failure(&tiny());
    assert!(
        failure.starts_with("NotFound: `acme/tiny` has no file `big-00002-of-00002.gguf`"),
        "{failure}"
    );
}

#[test]
fn a_cut_download_resumes_within_a_call_and_across_calls() {
    let cut = |times| Fault::Cut {
        after: 100_000,
        times,
    };
    let bench = Bench::new(Some(cut(2)));
    assert_eq!(read(&bench.resolve(&tiny()).unwrap()), contents());
    assert_eq!(bench.hub.served().bytes, SIZE as u64, "a byte came twice");

    let bench = Bench::new(Some(Fault::Cut {
        after: 0,
        times: 99,
    }));
    let repo = bench.config.cache_dir.join("models--acme--tiny/blobs");
    let failure = bench.failure(&tiny());
    assert!(
        failure.starts_with(
            "Offline: the download of `tiny.gguf` from `acme/tiny` stopped at 0 of 300000 bytes: "
        ),
        "{failure}"
    );
    let left = fs::read_dir(&repo).unwrap().next().unwrap().unwrap().path();
    fs::write(left, &contents()[..120_000]).unwrap();
    bench.hub.set_fault(REPO, None);
    assert_eq!(read(&bench.resolve(&tiny()).unwrap()), contents());
    assert_eq!(bench.hub.served().bytes, (SIZE - 120_000) as u64);
}

#[test]
fn a_wrong_remainder_or_a_server_without_ranges_starts_over() {
    for fault in [None, Some(Fault::NoRanges)] {
        let bench = Bench::new(Some(Fault::Cut {
            after: 0,
            times: 99,
        }));
        bench.resolve(&tiny()).unwrap_err();
        let blobs = bench.config.cache_dir.join("models--acme--tiny/blobs");
        let left = fs::read_dir(&blobs)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        fs::write(left, vec![9; 1000]).unwrap();
        bench.hub.set_fault(REPO, fault);
        assert_eq!(read(&bench.resolve(&tiny()).unwrap()), contents());
    }
}

#[test]
fn a_passing_refusal_is_tried_again() {
    for status in [429, 503] {
        let bench = Bench::new(Some(Fault::Status { status, times: 1 }));
        assert_eq!(read(&bench.resolve(&tiny()).unwrap()), contents());
    }
}

/// The question for a file's size and hash once failed for good when its connection was lost.
#[test]
fn a_lost_connection_is_tried_again() {
    let bench = Bench::new(Some(Fault::HangUp { times: 2 }));
    assert_eq!(read(&bench.resolve(&tiny()).unwrap()), contents());
}

/// A folder's files, of which the weights alone are large.
fn folder_files(weights: &str) -> Repository {
    Repository::new(REPO)
        .file("config.json", "{\"model_type\": \"llama\"}")
        .file("tokenizer.json", "{}")
        .file(weights, contents())
}

fn folder(files: &ModelFiles) -> &Path {
    match &files.layout {
        Layout::Folder(folder) => folder,
        Layout::Gguf(path) => panic!("a file: {}", path.display()),
    }
}

/// The hub leads to each small file within itself, and the length of that answer was once taken for the file's.
#[test]
fn small_files_are_found_where_the_hub_leads_within_itself() {
    let bench = Bench::serving(folder_files("model.safetensors"), None);
    let files = bench.resolve(&tiny()).unwrap();
    let config = fs::read_to_string(folder(&files).join("config.json")).unwrap();
    assert_eq!(config, "{\"model_type\": \"llama\"}");
    let weights = fs::read(folder(&files).join("model.safetensors")).unwrap();
    assert_eq!(weights, contents());
    let blobs = bench.config.cache_dir.join("models--acme--tiny/blobs");
    let mut names: Vec<usize> = fs::read_dir(blobs)
        .unwrap()
        .map(|blob| blob.unwrap().file_name().len())
        .collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [40, 40, 64],
        "git's hashes, and the SHA-256 of what is large"
    );

    let bench = Bench::serving(folder_files("model.safetensors"), Some(Fault::Circle));
    assert_eq!(
        bench.failure(&tiny()),
        "Offline: cannot fetch `acme/tiny`: 127.0.0.1 leads in circles to `config.json`\nhint: no repository is in the cache yet"
    );
}

/// What is lost on the way is asked for again there, from where it ended.
#[test]
fn small_files_are_tried_again_and_gone_on_with() {
    for fault in [
        Fault::HangUp { times: 2 },
        Fault::Status {
            status: 503,
            times: 2,
        },
        Fault::Cut { after: 1, times: 2 },
    ] {
        let bench = Bench::serving(folder_files("model.safetensors"), Some(fault.clone()));
        let files = bench.resolve(&tiny()).unwrap();
        let config = fs::read_to_string(folder(&files).join("config.json")).unwrap();
        assert_eq!(config, "{\"model_type\": \"llama\"}", "{fault:?}");
    }
}

/// A repository that was renamed is the same under its old name, and cached under that one, as in Python.
#[test]
fn a_renamed_repository_is_fetched_by_its_old_name() {
    let repository = folder_files("model.safetensors")
        .formerly("old")
        .formerly("acme/former");
    let bench = Bench::serving(repository, Some(Fault::Private));
    let mut config = bench.config.clone();
    config.token = Some("hf_secret".to_owned());
    for (name, cached) in [
        ("old", "models--old"),
        ("acme/former", "models--acme--former"),
    ] {
        let files = resolve(
            &config,
            &ModelSource::new(name),
            Wanted::Model,
            &Cancel::new(),
            &mut |_| {},
        )
        .unwrap();
        let snapshots = config.cache_dir.join(cached).join("snapshots");
        assert_eq!(folder(&files), snapshots.join(COMMIT));
        assert!(folder(&files).join("model.safetensors").is_file());
    }
    assert!(!config.cache_dir.join("models--acme--tiny").exists());
}

/// A private repository is read with the token wherever the hub leads within itself, and nobody else gets it.
#[test]
fn the_token_is_the_hubs_alone() {
    let mut bench = Bench::serving(folder_files("model.safetensors"), Some(Fault::Private));
    assert!(bench.failure(&tiny()).starts_with("NotFound: "));
    bench.config.token = Some("hf_secret".to_owned());
    let files = bench.resolve(&tiny()).unwrap();
    assert!(folder(&files).join("config.json").is_file());
    assert!(folder(&files).join("model.safetensors").is_file());
    assert_eq!(bench.hub.served().strayed_tokens, 0);
}

/// Shards once won over the one file, where a repository has both.
#[test]
fn the_one_file_wins_over_shards_as_in_transformers() {
    let index = r#"{"weight_map": {"a": "1.safetensors"}}"#;
    let weights = [
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ];
    for from in 0..weights.len() {
        let mut repository = Repository::new(REPO).file("config.json", "{}");
        for name in &weights[from..] {
            repository = repository.file(name, index);
        }
        let bench = Bench::serving(repository.file("1.safetensors", "one"), None);
        let files = bench.resolve(&tiny()).unwrap();
        let is_taken = |name: &&str| folder(&files).join(name).exists();
        let taken: Vec<&str> = weights.into_iter().filter(is_taken).collect();
        assert_eq!(taken, [weights[from]]);
    }
}

/// It once said that the files are not in the cache, and beside that the repository is.
#[test]
fn what_the_cache_lacks_of_a_model_is_named_offline() {
    let index = r#"{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}"#;
    let whole = [
        ("config.json", "{}"),
        ("tokenizer.json", "{}"),
        ("model.safetensors.index.json", index),
        ("1.safetensors", "one"),
        ("2.safetensors", "two"),
    ];
    let bench = Bench::new(None);
    let failure = |taken: &dyn Fn(&str) -> bool, change: &dyn Fn(&Path), source: &ModelSource| {
        let cache = tempfile::tempdir().unwrap();
        let files: Vec<_> = whole.into_iter().filter(|(name, _)| taken(name)).collect();
        let repo = cache.path().join("models--acme--tiny");
        write_as_python(&repo, &files);
        change(&repo.join("blobs"));
        let mut config = bench.config.clone();
        (config.cache_dir, config.offline) = (cache.path().to_owned(), true);
        let failure = resolve(&config, source, Wanted::Model, &Cancel::new(), &mut |_| {});
        failure.unwrap_err().to_string()
    };
    let message = |lacking: &str| {
        format!(
            "cannot load `acme/tiny`: the hub must not be used, and {lacking} in the cache\nhint: no other repository is in the cache; unset HF_HUB_OFFLINE to use the hub"
        )
    };
    let (all, none) = (|_: &str| true, |_: &Path| ());
    let without = |lacking: &'static str| move |name: &str| name != lacking;
    assert_eq!(
        failure(&without("2.safetensors"), &none, &tiny()),
        message("`2.safetensors` is not")
    );
    // The blob of the fourth file.
    let unlinked = |blobs: &Path| fs::remove_file(blobs.join("3")).unwrap();
    assert_eq!(
        failure(&all, &unlinked, &tiny()),
        message("`1.safetensors` is not")
    );
    assert_eq!(
        failure(&without("config.json"), &none, &tiny()),
        message("`config.json` is not")
    );
    let bare = |name: &str| !name.contains("safetensors");
    assert_eq!(
        failure(&bare, &none, &tiny()),
        message("its weights are not")
    );
    let mut other = tiny();
    other.revision = Some("v2".to_owned());
    assert_eq!(
        failure(&all, &none, &other),
        message("its revision `v2` is not")
    );
}

#[test]
fn a_clients_own_variables_say_where_to_go() {
    let variables = |pairs: &[(&str, &str)]| {
        HubVariables::collect(|name| {
            let pair = pairs.iter().find(|(known, _)| *known == name)?;
            Some(pair.1.to_owned())
        })
    };
    let config = HubConfig::new(&variables(&[
        ("HF_ENDPOINT", " http://mirror.example/ "),
        ("HF_HOME", "/h"),
        ("HF_TOKEN", "hf_secret"),
        ("HF_HUB_OFFLINE", "1"),
    ]));
    assert_eq!(config.endpoint, "http://mirror.example");
    assert_eq!(config.cache_dir, Path::new("/h/hub"));
    assert_eq!(config.token.as_deref(), Some("hf_secret"));
    assert!(config.offline && !format!("{config:?}").contains("secret"));

    let config = HubConfig::new(&variables(&[
        ("HF_HUB_CACHE", "/c"),
        ("HF_TOKEN", "hf_secret"),
        ("HF_HUB_DISABLE_IMPLICIT_TOKEN", "true"),
    ]));
    assert_eq!(config.endpoint, "https://huggingface.co");
    assert_eq!(config.cache_dir, Path::new("/c"));
    assert!(config.token.is_none() && !config.offline);

    // The old names of transformers, which it still reads first; and a home.
    let config = HubConfig::new(&variables(&[
        ("HF_HUB_CACHE", "/c"),
        ("PYTORCH_TRANSFORMERS_CACHE", "/p"),
        ("TRANSFORMERS_CACHE", "/t"),
    ]));
    assert_eq!(config.cache_dir, Path::new("/t"));
    let config = HubConfig::new(&variables(&[("HF_HOME", "~")]));
    assert_eq!(config.cache_dir, std::env::home_dir().unwrap().join("hub"));
}

#[test]
fn a_stall_is_interrupted_and_times_out() {
    let bench = Bench::new(Some(Fault::Stall { after: 1000 }));
    let cancel = Cancel::new();
    let flag = cancel.clone();
    thread::spawn(move || {
        thread::sleep(Duration::from_millis(500));
        flag.cancel();
    });
    let start = Instant::now();
    let failure = resolve(&bench.config, &tiny(), Wanted::Model, &cancel, &mut |_| {}).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Interrupted);
    assert!(start.elapsed() < Duration::from_millis(2500));
    bench.assert_no_blob();

    let mut bench = Bench::new(Some(Fault::Stall { after: 0 }));
    bench.config.stall_timeout = Duration::from_millis(200);
    assert_eq!(
        bench.failure(&tiny()),
        "Offline: the download of `tiny.gguf` from `acme/tiny` stopped at 0 of 300000 bytes: no answer in time\nhint: run it again: it goes on where it stopped"
    );
}

#[test]
fn the_cache_serves_offline_and_when_the_hub_is_away() {
    let mut bench = Bench::new(None);
    bench.config.offline = true;
    assert_eq!(
        bench.failure(&tiny()),
        "Offline: cannot load `acme/tiny`: the hub must not be used, and its files are not in the cache\nhint: no repository is in the cache yet; unset HF_HUB_OFFLINE to use the hub"
    );
    bench.config.offline = false;
    bench.resolve(&tiny()).unwrap();
    bench.config.offline = true;
    let before = bench.hub.served();
    assert_eq!(read(&bench.resolve(&tiny()).unwrap()), contents());
    assert_eq!(bench.hub.served(), before);

    bench.config.offline = false;
    bench.config.endpoint = "http://127.0.0.1:1".to_owned();
    let mut notices = Vec::new();
    resolve(
        &bench.config,
        &tiny(),
        Wanted::Model,
        &Cancel::new(),
        &mut |event| {
            notices.push(event);
        },
    )
    .unwrap();
    assert_eq!(
        notices,
        [Event::Notice("cannot fetch `acme/tiny`: 127.0.0.1 was not reached (connection refused); using the cached files".to_owned())]
    );
}

#[test]
fn a_sharded_folder_is_found_as_python_wrote_it_and_fetched_whole() {
    let index = r#"{"weight_map": {"a": "s/1.safetensors", "b": "2.safetensors"}}"#;
    let files = [
        ("config.json", "{}"),
        ("model.safetensors.index.json", index),
        ("s/1.safetensors", "one"),
        ("2.safetensors", "two"),
        ("tokenizer.json", "{}"),
        ("README.md", "not needed"),
    ];
    let mut repository = Repository::new(REPO);
    for (path, text) in files {
        repository = repository.file(path, text);
    }
    let bench = Bench::serving(repository, None);
    let Layout::Folder(folder) = bench.resolve(&tiny()).unwrap().layout else {
        panic!("no folder");
    };
    assert_eq!(
        fs::read_to_string(folder.join("s/1.safetensors")).unwrap(),
        "one"
    );
    assert!(!folder.join("README.md").exists());

    // As huggingface_hub lays it out: refs, blobs, relative links. A blob's name does not matter.
    let python = bench.folder.path().join("python");
    write_as_python(&python.join("models--acme--tiny"), &files);
    let mut offline = bench.config.clone();
    offline.cache_dir = python;
    offline.offline = true;
    let found = resolve(
        &offline,
        &tiny(),
        Wanted::Model,
        &Cancel::new(),
        &mut |_| {},
    )
    .unwrap();
    assert!(matches!(found.layout, Layout::Folder(_)));
}

fn write_as_python(repo: &Path, files: &[(&str, &str)]) {
    fs::create_dir_all(repo.join("blobs")).unwrap();
    fs::create_dir_all(repo.join("refs")).unwrap();
    fs::write(repo.join("refs/main"), COMMIT).unwrap();
    for (number, (path, text)) in files.iter().enumerate() {
        let blob = repo.join("blobs").join(number.to_string());
        fs::write(&blob, text).unwrap();
        let pointer = repo.join("snapshots").join(COMMIT).join(path);
        fs::create_dir_all(pointer.parent().unwrap()).unwrap();
        let up = "../".repeat(2 + path.matches('/').count());
        std::os::unix::fs::symlink(format!("{up}blobs/{number}"), pointer).unwrap();
    }
}

#[test]
fn two_at_once_fetch_once() {
    let bench = Bench::new(None);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| assert_eq!(read(&bench.resolve(&tiny()).unwrap()), contents()));
        }
    });
    assert_eq!(bench.hub.served().bytes, SIZE as u64);
}

#[test]
fn a_full_disk_and_a_cache_that_cannot_be_written_say_so() {
    let bench = Bench::new(Some(Fault::Cut {
        after: 0,
        times: 99,
    }));
    bench.resolve(&tiny()).unwrap_err();
    let blobs = bench.config.cache_dir.join("models--acme--tiny/blobs");
    let left = fs::read_dir(&blobs)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    fs::remove_file(&left).unwrap();
    std::os::unix::fs::symlink("/dev/full", &left).unwrap();
    bench.hub.set_fault(REPO, None);
    let failure = bench.failure(&tiny());
    assert!(failure.contains("the disk is full"), "{failure}");

    let mut bench = Bench::new(None);
    fs::write(bench.folder.path().join("file"), "").unwrap();
    bench.config.cache_dir = bench.folder.path().join("file/hub");
    let failure = bench.failure(&tiny());
    assert!(failure.starts_with("IoError: cannot create"), "{failure}");
}

/// What sentence-transformers says of texts is fetched with the model, the better weights of each module, and
/// nothing else of the repository.
#[test]
fn the_modules_of_sentence_transformers_are_fetched() {
    let taken = [
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "modules.json",
        "sentence_bert_config.json",
        "config_sentence_transformers.json",
        "1_Pooling/config.json",
        "2_Dense/config.json",
        "2_Dense/model.safetensors",
        "3_Dense/config.json",
        "3_Dense/pytorch_model.bin",
    ];
    let left = [
        "2_Dense/pytorch_model.bin",
        "onnx/config.json",
        "openvino/model.safetensors",
    ];
    let files = taken.iter().chain(&left);
    let repository = files.fold(Repository::new(REPO), |repository, name| {
        repository.file(name, b"{}".to_vec())
    });
    let bench = Bench::serving(repository, None);
    let files = bench.resolve(&ModelSource::new(REPO)).unwrap();
    let Layout::Folder(folder) = files.layout else {
        panic!("a folder")
    };
    for name in taken {
        assert!(folder.join(name).is_file(), "{name}");
    }
    for name in left {
        assert!(!folder.join(name).exists(), "{name}");
    }
}
