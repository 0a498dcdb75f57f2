//! A model host whose "model" echoes: what the tests start in the place of the real one. Its
//! behaviour is chosen by the name of the model: `slow` loads for a while, `endless` generates until
//! it is cancelled, `metronome` a hundred tokens a second, `abort` takes the process down, `panic` panics.

use std::{
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use host::{HostConfig, HostError, Serve};
use wire::{
    Failure, FailureKind,
    generate::{Details, FinishReason, Generated, Prompt, StreamedToken, Timing},
    host::{Event, Progress, Request, Response, Stage, UnloadTarget},
    hub::HubVariables,
    model::{ModelInfo, ModelSpec, Resident, TokenizerInfo},
    pipeline::{PipelineAnswer, PipelineCall, PipelineRun},
    text::{ChatMessage, Encoding, RenderedChat, TemplateOptions, Token},
    text_generation::{GeneratedText, GenerationInput},
    tokenize::{EncodedRow, TokenizerAnswer, TokenizerCall},
};

/// Milliseconds of idleness after which the toy leaves.
const IDLE_VAR: &str = "TOY_IDLE_MS";
/// Milliseconds after which a client that does not read is gone.
const WRITE_VAR: &str = "TOY_WRITE_MS";

fn main() -> ExitCode {
    let mut config = HostConfig::new("toy");
    if let Some(idle) = milliseconds(IDLE_VAR) {
        config.idle_timeout = idle;
    }
    if let Some(limit) = milliseconds(WRITE_VAR) {
        config.write_timeout = limit;
    }
    match host::serve(config, Toy::default()) {
        Ok(()) | Err(HostError::AlreadyRunning(_)) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = std::io::Write::write_fmt(&mut std::io::stderr(), format_args!("{error}\n"));
            ExitCode::FAILURE
        }
    }
}

fn milliseconds(variable: &str) -> Option<Duration> {
    let text = std::env::var(variable).ok()?;
    text.parse().ok().map(Duration::from_millis)
}

/// From one token of `metronome` to the next.
const BEAT: Duration = Duration::from_millis(10);

/// A token for each character; its id is the character's code.
#[derive(Default)]
struct Toy {
    /// Held during a load, so that two loads of one model are one.
    residents: Mutex<Vec<Resident>>,
    /// Generations that run.
    running: AtomicU32,
}

type Sink<'a> = &'a mut dyn FnMut(Event);

impl Serve for Toy {
    type Cancel = Arc<AtomicBool>;

    fn cancel(flag: &Self::Cancel) {
        flag.store(true, Ordering::Release);
    }

    fn handle(&self, request: Request, _: &HubVariables, cancel: &Self::Cancel, sink: Sink<'_>) {
        let answer = match request {
            Request::LoadTokenizer(source) => {
                Ok(Response::Tokenizer(Box::new(tokenizer(&source.repo))))
            }
            Request::LoadModel(spec) => self.load(&spec, sink).map(Response::Model),
            Request::Tokenize { call, .. } => tokenize(call).map(Response::Tokenize),
            Request::ApplyChatTemplate {
                conversations,
                options,
                ..
            } => {
                let chats = conversations
                    .into_iter()
                    .map(|messages| chat(messages, &options));
                Ok(Response::Chats(chats.collect()))
            }
            Request::Generate {
                model,
                prompts,
                config,
                stream,
                ..
            } => {
                let most = config.max_new_tokens.unwrap_or(20);
                self.load(&model, sink).map(|_| {
                    let mut on_token = |id: u32| {
                        if stream.is_some() {
                            sink(Event::Token(StreamedToken::now(Some(id), decode(&[id]))));
                        }
                    };
                    self.running.fetch_add(1, Ordering::AcqRel);
                    let generated = prompts.iter().map(|prompt| {
                        generate(&model.source.repo, prompt, most, cancel, &mut on_token)
                    });
                    let generated = generated.collect();
                    self.running.fetch_sub(1, Ordering::AcqRel);
                    Response::Generated(generated)
                })
            }
            Request::RunPipeline(PipelineRun {
                model,
                call: PipelineCall::TextGeneration { inputs, options },
                ..
            }) => self.load(&model, sink).map(|_| {
                let most = options.generation.max_new_tokens.unwrap_or(20);
                let answers = inputs
                    .into_iter()
                    .map(|input| vec![continued(input, most, cancel)]);
                Response::Pipeline(PipelineAnswer::Generations(answers.collect()))
            }),
            Request::Unload(target) => self.unload(&target),
            other => Err(Failure::new(
                FailureKind::Internal,
                format!("not for a service: {other:?}"),
            )),
        };
        sink(match answer {
            Ok(response) => Event::Done(response),
            Err(failure) => Event::Failed(failure),
        });
    }

    fn residents(&self) -> Vec<Resident> {
        let mut residents = self.residents.lock().expect("no load panics").clone();
        for resident in &mut residents {
            resident.users = self.running.load(Ordering::Acquire);
        }
        residents
    }
}

impl Toy {
    fn load(&self, spec: &ModelSpec, sink: Sink<'_>) -> Result<ModelInfo, Failure> {
        match spec.source.repo.as_str() {
            "missing" => {
                return Err(Failure::new(
                    FailureKind::NotFound,
                    "cannot load `missing`: no such repository",
                )
                .hint("check the name"));
            }
            "panic" => panic!("the toy was told to"),
            _ => {}
        }
        let mut residents = self.residents.lock().expect("no load panics");
        if let Some(resident) = residents.iter().find(|resident| resident.spec == *spec) {
            return Ok(ModelInfo {
                was_resident: true,
                ..resident.info.clone()
            });
        }
        let started = Instant::now();
        if spec.source.repo == "slow" {
            for step in 1..=20 {
                thread::sleep(Duration::from_millis(25));
                let subject = spec.source.repo.clone();
                sink(Event::Progress(Progress {
                    stage: Stage::Load,
                    subject,
                    done: step * 1000,
                    total: Some(20_000),
                }));
            }
        }
        let info = info(&spec.source.repo, started.elapsed().as_secs_f64());
        residents.push(Resident {
            info: info.clone(),
            spec: spec.clone(),
            age_seconds: 0.0,
            idle_seconds: 0.0,
            users: 0,
            cache_bytes: 0,
            pinned: false,
        });
        Ok(info)
    }

    fn unload(&self, target: &UnloadTarget) -> Result<Response, Failure> {
        let mut residents = self.residents.lock().expect("no load panics");
        let (freed, kept): (Vec<Resident>, Vec<Resident>) =
            residents.drain(..).partition(|resident| match target {
                UnloadTarget::Spec(spec) => resident.spec == *spec,
                UnloadTarget::Name(name) => resident.spec.source.repo == *name,
                UnloadTarget::All => true,
            });
        *residents = kept;
        if freed.is_empty() {
            return Err(Failure::new(
                FailureKind::NotFound,
                "no such model is in memory",
            ));
        }
        Ok(Response::Unloaded(freed))
    }
}

/// Echoes the prompt, over and over.
fn generate(
    model: &str,
    prompt: &Prompt,
    most: u32,
    cancel: &AtomicBool,
    on_token: &mut dyn FnMut(u32),
) -> Generated {
    let prompt_text = match prompt {
        Prompt::Text(text) => text.clone(),
        Prompt::Ids { ids, .. } => decode(ids),
        Prompt::Chat(messages) => messages
            .last()
            .and_then(|last| last.text())
            .unwrap_or_default()
            .to_owned(),
    };
    let prompt_ids: Vec<u32> = prompt_text.chars().map(u32::from).collect();
    let mut ids = Vec::new();
    let started = Instant::now();
    let mut finish_reason = FinishReason::Length;
    for id in prompt_ids.iter().cycle().take(if model == "endless" {
        usize::MAX
    } else {
        most as usize
    }) {
        if cancel.load(Ordering::Acquire) {
            finish_reason = FinishReason::Cancelled;
            break;
        }
        if model == "abort" && ids.len() == 3 {
            std::process::abort();
        }
        ids.push(*id);
        on_token(*id);
        match model {
            "endless" => thread::sleep(Duration::from_millis(5)),
            // By the clock: on a machine that is late, too.
            "metronome" => {
                let due = started + BEAT * ids.len() as u32;
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            _ => {}
        }
    }
    let text = decode(&ids);
    Generated {
        prompt_ids,
        ids,
        text,
        prompt_text,
        finish_reason,
        timing: Timing::default(),
        details: Details::default(),
    }
}

/// What the pipeline gives: a text with what follows it, an answer by itself.
fn continued(input: GenerationInput, most: u32, cancel: &AtomicBool) -> GeneratedText {
    let (before, prompt) = match input {
        GenerationInput::Text(text) => (text.clone(), Prompt::Text(text)),
        GenerationInput::Chat(messages) => (String::new(), Prompt::Chat(messages)),
    };
    let Generated {
        ids,
        text,
        prompt_ids,
        ..
    } = generate("toy", &prompt, most, cancel, &mut |_| {});
    GeneratedText {
        text: before + &text,
        messages: None,
        tokens: ids.len() as u32,
        token_ids: ids,
        prompt_tokens: prompt_ids.len() as u32,
        streamed: None,
    }
}

/// A line for each message.
fn chat(messages: Vec<ChatMessage>, options: &TemplateOptions) -> RenderedChat {
    let lines = messages.iter().map(|message| {
        let content = message.text().unwrap_or_default();
        format!("<{}>{content}\n", message.role)
    });
    let mut text: String = lines.collect();
    if options.add_generation_prompt {
        text.push_str("<assistant>");
    }
    let encoding = encode(&text);
    let input_ids: Vec<u32> = encoding.tokens.iter().map(|token| token.id).collect();
    RenderedChat {
        inputs: EncodedRow {
            attention_mask: vec![1; input_ids.len()],
            input_ids,
            ..EncodedRow::default()
        },
        encoding,
        add_generation_prompt: options.add_generation_prompt,
        messages,
        text,
        ..RenderedChat::default()
    }
}

fn tokenize(call: TokenizerCall) -> Result<TokenizerAnswer, Failure> {
    match call {
        TokenizerCall::Tokens { inputs, .. } => {
            let encodings = inputs.iter().map(|input| encode(&input.text));
            Ok(TokenizerAnswer::Encodings(encodings.collect()))
        }
        TokenizerCall::Decode { sequences, .. } => {
            let texts = sequences.iter().map(|ids| decode(&ids.0));
            Ok(TokenizerAnswer::Texts(texts.collect()))
        }
        other => Err(Failure::new(
            FailureKind::Unsupported,
            format!("the toy cannot do this: {other:?}"),
        )),
    }
}

fn encode(text: &str) -> Encoding {
    let tokens = text.char_indices().map(|(start, character)| {
        let bytes = (start as u32, (start + character.len_utf8()) as u32);
        Token {
            id: u32::from(character),
            piece: character.to_string(),
            bytes,
            special: false,
        }
    });
    Encoding {
        text: text.to_owned(),
        tokens: tokens.collect(),
        fingerprint: "toy".to_owned(),
    }
}

fn decode(ids: &[u32]) -> String {
    ids.iter().filter_map(|&id| char::from_u32(id)).collect()
}

fn tokenizer(name: &str) -> TokenizerInfo {
    TokenizerInfo {
        name: name.to_owned(),
        model: "characters".to_owned(),
        vocab_size: 0x11_0000,
        has_chat_template: true,
        fingerprint: if name == "other" { "other" } else { "toy" }.to_owned(),
        ..Default::default()
    }
}

fn info(name: &str, load_seconds: f64) -> ModelInfo {
    ModelInfo {
        name: name.to_owned(),
        files: vec![format!("{name}.toy")],
        architecture: "echo".to_owned(),
        quantization: "F32".to_owned(),
        device: "cpu".to_owned(),
        device_map: Vec::new(),
        device_bytes: Vec::new(),
        parameters: 0,
        bytes: 20_000,
        memory_footprint: 20_000,
        context_length: 1000,
        vocab_size: 0x11_0000,
        layers: 0,
        hidden_size: 0,
        load_seconds,
        was_resident: false,
        dtype: None,
        license: None,
        modules: None,
        agreement: None,
    }
}
