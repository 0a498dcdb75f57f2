//! Memory of cards, by cards that a thread takes for such and that compute on the processor: what is let in and where,
//! who goes for it, and what becomes of a conversation that finds no room.

use std::{collections::HashMap, ops::RangeInclusive, path::Path, sync::Mutex};

use wire::{
    Failure, FailureKind,
    generate::{Generated, GenerationConfig, Prompt},
    host::{Event, Request, Response},
    hub::HubVariables,
    model::{DType, Device, DeviceMap, ModelSpec},
};

use super::{
    Residency,
    evict::tests::{copies, load_spec, names, spec},
    lock,
    room::{CARD_HEADROOM, Need, Room, Share},
};
use crate::{
    Cancel, Service, cuda, failures,
    hub::Layout,
    layers::{ROWS, composed},
    memory,
    placement::{Part, Placement},
    weights::Weights,
};

/// Runs it on a thread of its own that takes so many cards for usable.
fn with_cards(count: u32, run: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            cuda::tests::CARDS.set(count);
            run();
        });
        run.join().unwrap();
    });
}

/// A table by what devices are said to have, which its models do not change; plenty where nothing is said.
fn table(room: &[(Device, u64)]) -> Residency {
    let room: HashMap<Device, u64> = room.iter().copied().collect();
    Residency {
        room: Room::with_memory(move |device| Some(*room.get(&device).unwrap_or(&u64::MAX))),
        ..Residency::default()
    }
}

fn need(spec: &ModelSpec) -> Need {
    let weights = Weights::open(&Layout::Folder(spec.source.repo.clone().into())).unwrap();
    Need::of("m", &weights, None, DType::F32)
}

fn on(spec: &ModelSpec, device: impl Into<DeviceMap>) -> ModelSpec {
    ModelSpec {
        device_map: device.into(),
        ..spec.clone()
    }
}

/// What a model takes of a card.
fn whole_on_card(model: &ModelSpec) -> u64 {
    let shares = need(model).on(&Placement::whole(Device::Cuda(0)));
    let on_card = shares
        .iter()
        .filter(|share| share.device == Device::Cuda(0));
    on_card.map(Share::bytes).sum()
}

/// So many tokens after a prompt that begins with an id of its own.
fn generate(
    service: &Service,
    model: &ModelSpec,
    (first, tokens): (u32, u32),
) -> Result<Generated, Failure> {
    let config = GenerationConfig {
        max_new_tokens: Some(tokens),
        min_new_tokens: Some(tokens),
        do_sample: Some(false),
        ..Default::default()
    };
    generate_by(service, model, (first, config))
}

fn generate_by(
    service: &Service,
    model: &ModelSpec,
    (first, config): (u32, GenerationConfig),
) -> Result<Generated, Failure> {
    let mut written = written(service, model, (first..=first, config))?;
    Ok(written.pop().unwrap())
}

/// The same of several prompts.
fn written(
    service: &Service,
    model: &ModelSpec,
    (firsts, config): (RangeInclusive<u32>, GenerationConfig),
) -> Result<Vec<Generated>, Failure> {
    let prompt = |first| Prompt::Ids {
        ids: (0..12).map(|at| (first + 7 * at) % 60).collect(),
        fingerprint: None,
    };
    let request = Request::Generate {
        model: model.clone(),
        prompts: firsts.map(prompt).collect(),
        config,
        generation_config: None,
        stream: None,
        assistant: None,
    };
    let mut last = None;
    let (hub, cancel) = (HubVariables::default(), Cancel::new());
    service.handle(request, &hub, &cancel, &mut |event| last = Some(event));
    match last {
        Some(Event::Done(Response::Generated(all))) => Ok(all),
        Some(Event::Failed(failure)) => Err(failure),
        other => Err(failures::invalid(format!("{other:?}"))),
    }
}

#[test]
fn what_fits_on_a_card_goes_there_and_is_found_by_either_name() {
    with_cards(2, || {
        let root = tempfile::tempdir().unwrap();
        let model = spec(&copies(root.path(), 1)[0]);
        // A byte short on the first: the second takes it.
        let whole = whole_on_card(&model);
        let residency = table(&[
            (Device::Cuda(0), CARD_HEADROOM + whole - 1),
            (Device::Cuda(1), CARD_HEADROOM + whole),
        ]);
        let (loaded, notices) = load_spec(&residency, &on(&model, Device::Auto));
        let loaded = loaded.unwrap();
        assert_eq!((loaded.info.device.as_str(), notices), ("cuda:1", vec![]));
        assert!(loaded.info.bytes_on(Device::Cuda(1)) > 0);
        let (again, _) = load_spec(&residency, &on(&model, Device::Cuda(1)));
        assert!(std::sync::Arc::ptr_eq(&loaded, &again.unwrap()));
        // The first by its name is an error that says what would be done about it.
        let (refused, _) = load_spec(&residency, &on(&model, Device::Cuda(0)));
        let failure = refused.err().unwrap();
        assert_eq!(failure.kind, FailureKind::OutOfMemory);
        assert!(failure.message.contains("on `cuda:0`"), "{failure}");
        assert!(failure.hint.unwrap().contains("device_map(\"auto\")"));
    });
}

#[test]
fn layers_that_do_not_fit_spill_and_answers_stay_the_same() {
    with_cards(2, || {
        let root = tempfile::tempdir().unwrap();
        let model = spec(&copies(root.path(), 1)[0]);
        let need = need(&model);
        let layer = need.part(Part::Layer(0)) + need.layer_cache();
        let expected = generate(&Service::new(), &model, (1, 40)).unwrap().ids;
        let split = on(&model, Device::Auto);
        for (rooms, devices, said) in [
            (
                [layer, layer + need.head() + need.part(Part::Norm)],
                "cpu, cuda:0, cuda:1",
                "1 of 2 layers on `cuda:0`, 1 and the head on `cuda:1`",
            ),
            (
                [layer, 0],
                "cpu, cuda:0",
                "1 of 2 layers on `cuda:0`, 1 and the head on `cpu`",
            ),
            ([0, 0], "cpu", "2 of 2 layers and the head on `cpu`"),
        ] {
            let [first, second] = rooms.map(|room| CARD_HEADROOM + room);
            let residency = table(&[(Device::Cuda(0), first), (Device::Cuda(1), second)]);
            let (loaded, notices) = load_spec(&residency, &split);
            assert_eq!(loaded.unwrap().info.device, devices);
            assert!(notices[0].contains(said), "{notices:?}");
            let ids = generate(&Service::of(residency), &split, (1, 40))
                .unwrap()
                .ids;
            assert_eq!(ids, expected, "{devices}");
        }
    });
}

#[test]
fn idle_models_go_from_the_card_that_lacks_memory() {
    with_cards(2, || {
        let root = tempfile::tempdir().unwrap();
        let models = copies(root.path(), 4);
        let models: Vec<ModelSpec> = models.iter().map(|folder| spec(folder)).collect();
        let short = CARD_HEADROOM + whole_on_card(&models[0]) - 1;
        // What the second card is said to have, look by look: a byte too little for the third model, far too little for
        // the fourth.
        let looks = Mutex::new(vec![u64::MAX, short, u64::MAX, CARD_HEADROOM].into_iter());
        let residency = Residency {
            room: Room::with_memory(move |device| match device {
                Device::Cuda(1) => lock(&looks).next(),
                _ => None,
            }),
            ..Residency::default()
        };
        for (model, card) in models.iter().zip([0, 1]) {
            let loaded = load_spec(&residency, &on(model, Device::Cuda(card))).0;
            loaded.unwrap();
        }
        let (third, notices) = load_spec(&residency, &on(&models[2], Device::Cuda(1)));
        third.unwrap();
        assert!(
            notices.len() == 1 && notices[0].contains("model1"),
            "{notices:?}"
        );
        assert_eq!(names(&residency), ["model0", "model2"]);
        // Weights and cache are more than the weights that are idle there: none goes.
        let (fourth, notices) = load_spec(&residency, &on(&models[3], Device::Cuda(1)));
        assert_eq!(fourth.err().unwrap().kind, FailureKind::OutOfMemory);
        assert_eq!(notices.len(), 0);
        assert_eq!(names(&residency), ["model0", "model2"]);
    });
}

#[test]
fn an_encoder_that_does_not_fit_stays_whole() {
    with_cards(1, || {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("encoder");
        std::fs::create_dir(&folder).unwrap();
        let fixture =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/encoders/bert_base");
        for file in ["config.json", "model.safetensors"] {
            std::fs::copy(fixture.join(file), folder.join(file)).unwrap();
        }
        let tokenizer = copies(root.path(), 1)[0].join("tokenizer.json");
        std::fs::copy(tokenizer, folder.join("tokenizer.json")).unwrap();
        let residency = table(&[(Device::Cuda(0), CARD_HEADROOM)]);
        let (loaded, notices) = load_spec(&residency, &on(&spec(&folder), Device::Auto));
        assert_eq!(loaded.unwrap().info.device, "cpu");
        assert!(notices[0].contains("encoders are not split"), "{notices:?}");
        let roomy = table(&[]);
        let (loaded, notices) = load_spec(&roomy, &on(&spec(&folder), Device::Auto));
        assert_eq!(
            (loaded.unwrap().info.device.as_str(), notices.len()),
            ("cuda:0", 0)
        );
    });
}

/// A step that lacks memory ends its request alone; the model, and what others hold, are as before.
#[test]
fn a_conversation_without_room_ends_and_says_what_is_missing() {
    let root = tempfile::tempdir().unwrap();
    let models = copies(root.path(), 2);
    let (model, idle) = (spec(&models[0]), spec(&models[1]));
    let service = Service::new();
    let expected = generate(&service, &model, (1, 8)).unwrap().ids;
    generate(&service, &idle, (1, 8)).unwrap();
    let short = 1 << 20;
    // What other conversations have left is freed first, then the model that nobody uses.
    memory::tests::TOLD.set(vec![short]);
    generate(&service, &model, (2, 8)).unwrap();
    assert_eq!(service.residents().len(), 2);
    let need = need(&model);
    let growth = need.cache / need.tokens * 512;
    memory::tests::TOLD.set(vec![memory::SLACK + growth - 1, short]);
    generate(&service, &model, (3, 8)).unwrap();
    assert_eq!(service.residents().len(), 1);
    memory::tests::TOLD.set(vec![short, short]);
    let failure = generate(&service, &model, (4, 8)).unwrap_err();
    assert_eq!(failure.kind, FailureKind::OutOfMemory);
    assert!(failure.message.contains("are missing"), "{failure}");
    assert_eq!(generate(&service, &model, (1, 8)).unwrap().ids, expected);
    assert_eq!(service.residents().len(), 1);
}

/// Cards give only the logits that decide. Who asks for all of them gets the same tokens.
#[test]
fn what_decides_chooses_as_all_logits_do() {
    let root = tempfile::tempdir().unwrap();
    let model = spec(&copies(root.path(), 1)[0]);
    let service = Service::new();
    let drawn = |seed, (top_k, top_p), (prompts, sequences), output_scores| {
        let config = GenerationConfig {
            max_new_tokens: Some(30),
            min_new_tokens: None,
            do_sample: Some(seed > 0),
            seed: Some(seed),
            top_k: Some(top_k),
            top_p: Some(top_p),
            temperature: Some(1.7),
            output_scores: Some(output_scores),
            num_return_sequences: Some(sequences),
            ..Default::default()
        };
        let before = ROWS.get();
        let all = composed(|| written(&service, &model, (5..=4 + prompts, config)).unwrap());
        let all: Vec<Vec<u32>> = all.into_iter().map(|one| one.ids).collect();
        (all, ROWS.get() - before)
    };
    let mut different = std::collections::BTreeSet::new();
    for (seed, top_k, top_p) in [
        (0, 50, 1.0),
        (1, 5, 1.0),
        (2, 50, 0.9),
        (3, 10, 0.8),
        (4, 0, 0.9),
    ] {
        let sequences = if seed > 0 { 3 } else { 1 };
        for counts in [(1, 1), (2, 1), (2, sequences)] {
            let (all, none) = drawn(seed, (top_k, top_p), counts, true);
            let (same, read) = drawn(seed, (top_k, top_p), counts, false);
            assert_eq!(same, all, "{seed} {top_k} {top_p} {counts:?}");
            assert_eq!(all.len() as u32, counts.0 * counts.1);
            // Of every token of every sequence; a prompt's first is read once for all of its own.
            let tokens: usize = all.iter().map(|ids| ids.len() - 1).sum();
            let least = if seed > 0 && top_k == 0 { 0 } else { tokens };
            assert!(
                none == 0 && (read > 0) == (least > 0) && read >= least,
                "{read}"
            );
            different.insert(all);
        }
    }
    assert!(different.len() > 8, "seeds matter");
}
