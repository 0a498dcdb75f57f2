//! Client to model host and back. A client says `Hello`, then sends requests, each with an id of
//! its own; the host answers each with any number of events and one last `Done` or `Failed`.

use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    generate::{Forward, Generated, GenerationConfig, Prompt, StreamOptions, StreamedToken},
    hub::HubVariables,
    model::{ModelInfo, ModelSource, ModelSpec, Resident, TokenizerInfo},
    pipeline::{PipelineAnswer, PipelineRun, PipelineTask},
    quantization_report::QuantizationReport,
    text::{ChatMessage, RenderedChat, TemplateOptions},
    tokenize::{TokenizerAnswer, TokenizerCall, TokenizerSpec},
};

/// What a client sends.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every message is the large one, and none is kept"
)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ClientMessage {
    /// The first message of a connection.
    Hello(Hello),
    /// Something to do. Ids are the client's own and unique on its connection.
    Request {
        /// Comes back with every event.
        id: u64,
        /// What to do.
        request: Request,
        /// The client's way to the hub, should files be missing here.
        hub: HubVariables,
    },
    /// Ends the request of this id, if it still runs.
    Cancel {
        /// The request.
        id: u64,
    },
    /// Ends all requests of one kernel, whichever connection they came by.
    CancelSession {
        /// As in [`Hello::session`].
        session: String,
    },
}

/// Who the client is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// [`crate::PROTOCOL_VERSION`] of the client.
    pub protocol: u32,
    /// The kernel this client works for, by which its requests are cancelled.
    pub session: String,
}

/// What can be asked of the host.
#[expect(
    clippy::large_enum_variant,
    reason = "one is made a request, and a box would be in the way of all who make one"
)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Request {
    /// Load a tokenizer, or find it loaded. Answered by [`Response::Tokenizer`].
    LoadTokenizer(ModelSource),
    /// Load a model, or find it resident. One whose files in a local folder have changed since is loaded again; that they
    /// are gone is a failure. Answered by [`Response::Model`].
    LoadModel(ModelSpec),
    /// Anything of a tokenizer but its template. Answered by [`Response::Tokenize`].
    Tokenize {
        /// The tokenizer; loaded when it is not.
        tokenizer: TokenizerSpec,
        /// What it is to do.
        call: TokenizerCall,
    },
    /// Render conversations, to sequences of one length where padding is asked for. Answered by
    /// [`Response::Chats`].
    ApplyChatTemplate {
        /// The tokenizer whose template it is; loaded when it is not.
        tokenizer: TokenizerSpec,
        /// The conversations.
        conversations: Vec<Vec<ChatMessage>>,
        /// Options.
        options: TemplateOptions,
    },
    /// Continue prompts. Sends [`Event::Token`]s; answered by [`Response::Generated`].
    Generate {
        /// The model; loaded, with progress, when it is not resident.
        model: ModelSpec,
        /// What to continue; several are a batch.
        prompts: Vec<Prompt>,
        /// What the call says.
        config: GenerationConfig,
        /// A configuration of the user's own, between the call and the model's files. Of a model that was
        /// saved before transformers 4.50 the files give only special tokens then.
        generation_config: Option<GenerationConfig>,
        /// Send the text as it comes, cut by these rules. Of a single sequence only.
        stream: Option<StreamOptions>,
        /// A smaller model with the same vocabulary, which guesses tokens that the model then checks.
        assistant: Option<ModelSpec>,
    },
    /// Compute logits of prompts. Answered by [`Response::Forward`].
    Forward {
        /// The model; loaded, with progress, when it is not resident.
        model: ModelSpec,
        /// What to read; several are a batch.
        prompts: Vec<Prompt>,
        /// Give what each layer makes of it, too.
        output_hidden_states: bool,
    },
    /// Load the model of a pipeline, or find it resident, as [`Request::LoadModel`] does; but what was loaded from a path
    /// where nothing is left serves, since it may be asked for by its handle. Fails on one that cannot do the task.
    /// Answered by [`Response::Model`].
    LoadPipeline {
        /// What it is to do.
        task: PipelineTask,
        /// The model.
        model: ModelSpec,
    },
    /// Run a pipeline. Answered by [`Response::Pipeline`].
    RunPipeline(PipelineRun),
    /// What is resident. Answered by [`Response::Status`].
    Status,
    /// Free a model. Answered by [`Response::Unloaded`].
    Unload(UnloadTarget),
    /// Keep a model in memory when others need room, or no longer; loads it when it is not resident.
    /// Answered by [`Response::Model`].
    Pin {
        /// The model.
        model: ModelSpec,
        /// Keep it.
        pinned: bool,
    },
    /// Write a model's weights and configuration as files that it loads from again. Answered by
    /// [`Response::Saved`].
    SaveModel {
        /// The model; it need not be resident.
        model: ModelSpec,
        /// An absolute path; made when there is none.
        folder: String,
    },
    /// Hold a model's quantised weights against those of its files. Answered by
    /// [`Response::QuantizationReport`].
    QuantizationReport {
        /// The model; loaded, with progress, when it is not resident.
        model: ModelSpec,
    },
    /// End the host. Answered by [`Response::Stopping`].
    Shutdown,
}

/// Which models to free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UnloadTarget {
    /// The one loaded by this specification.
    Spec(ModelSpec),
    /// All whose repository or path is this.
    Name(String),
    /// All.
    All,
}

/// What the host sends.
#[expect(
    clippy::large_enum_variant,
    reason = "all messages but the first are the large one, and none is kept"
)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum HostMessage {
    /// The answer to `Hello`.
    Welcome(Welcome),
    /// News of a request.
    Event {
        /// The request's id.
        id: u64,
        /// The news.
        event: Event,
    },
}

/// Who the host is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// [`crate::PROTOCOL_VERSION`] of the host. When it differs from the client's, the host takes
    /// only [`Request::Shutdown`] and closes the connection after it.
    pub protocol: u32,
    /// Version of the program.
    pub version: String,
    /// Process id.
    pub pid: u32,
}

/// News of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// How far a download or a load is.
    Progress(Progress),
    /// A line for the user: a default that was chosen, a fallback that was taken.
    Notice(String),
    /// A token was produced.
    Token(StreamedToken),
    /// The request succeeded. The last event.
    Done(Response),
    /// The request failed. The last event.
    Failed(Failure),
}

/// How far something is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// What is being done.
    pub stage: Stage,
    /// On what: a file or a model.
    pub subject: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, when known.
    pub total: Option<u64>,
}

/// Stages of bringing a model into memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Fetching a file from the hub.
    Download,
    /// Checking a file's hash.
    Verify,
    /// Reading weights into memory.
    Load,
    /// The same, with their quantisation on the way.
    Quantize,
    /// Writing a model's files.
    Save,
    /// Reading weights again, to hold the quantised ones against them.
    Compare,
}

/// Answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Response {
    /// A tokenizer is loaded.
    Tokenizer(Box<TokenizerInfo>),
    /// A model is resident.
    Model(ModelInfo),
    /// What a tokenizer answered.
    Tokenize(TokenizerAnswer),
    /// The rendered conversations, in order.
    Chats(Vec<RenderedChat>),
    /// The finished sequences, `num_return_sequences` for each prompt in order, the best first. Cancelled
    /// ones come here too, with what they had.
    Generated(Vec<Generated>),
    /// What the model computed.
    Forward(Box<Forward>),
    /// What a pipeline answered.
    Pipeline(PipelineAnswer),
    /// What the host holds.
    Status(HostStatus),
    /// What was freed.
    Unloaded(Vec<Resident>),
    /// The files that were written.
    Saved(Vec<String>),
    /// What quantisation did to a model.
    QuantizationReport(Box<QuantizationReport>),
    /// The host is ending.
    Stopping,
}

/// What the host holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostStatus {
    /// Process id.
    pub pid: u32,
    /// Version of the program.
    pub version: String,
    /// Seconds since it started.
    pub uptime_seconds: f64,
    /// Seconds without clients and requests after which it ends.
    pub idle_timeout_seconds: f64,
    /// Bytes of main memory that the process takes.
    pub process_bytes: u64,
    /// Resident models.
    pub models: Vec<Resident>,
    /// Connected clients.
    pub clients: u32,
}
