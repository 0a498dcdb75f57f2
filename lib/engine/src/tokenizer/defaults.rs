//! What the constructors of transformers' fast tokenizer classes bring along where the files are silent: their
//! signatures and attributes in transformers 4.57.6, a class a row. Special tokens that a constructor counts up
//! are in `class.rs`; languages in `languages.rs`; first and last tokens in `files.rs`.

use tokenizers::AddedToken;
use wire::tokenize::Side;

/// Named tokens, each by its attribute.
type Tokens = &'static [(&'static str, &'static str)];

/// What one class brings along.
#[derive(Clone, Copy, Debug)]
pub(super) struct Defaults {
    /// Its name, without `Fast`.
    pub class: &'static str,
    /// The types of models that it is of; empty for what `class.rs` tells apart.
    pub models: &'static [&'static str],
    /// Special tokens.
    pub tokens: Tokens,
    /// Further special tokens.
    pub additional: &'static [&'static str],
    whole: Whole,
    /// What a model is given.
    pub inputs: &'static [&'static str],
    /// Where padding goes.
    pub padding_side: Side,
    /// The token type of padding.
    pub pad_token_type: u32,
    /// `add_prefix_space`; `None` where the constructor leaves that of the file.
    pub add_prefix_space: Option<bool>,
    /// What it writes into a `BertNormalizer`: by which argument, under which name there.
    pub normalizer: Tokens,
    /// Whether it writes `add_prefix_space` and `trim_offsets` into the post-processor.
    pub sets_post_processor: bool,
}

/// Which tokens, where only their text is given, a constructor makes an `AddedToken` of, and so adds with its
/// own flags whatever a `tokenizer.json` lists. The blank before a mask is the mask's then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whole {
    None,
    Mask,
    /// The mask, which is found in normalised text.
    NormalizedMask,
    /// What begins, ends and masks.
    Marks,
    All,
}

const IDS_AND_MASK: &[&str] = &["input_ids", "attention_mask"];
const WITH_TYPES: &[&str] = &["input_ids", "token_type_ids", "attention_mask"];

const BERT: Tokens = &[
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
const ROBERTA: Tokens = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];
const MPNET: Tokens = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "[UNK]"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];
const ALBERT: Tokens = &[
    ("bos_token", "[CLS]"),
    ("eos_token", "[SEP]"),
    ("unk_token", "<unk>"),
    ("sep_token", "[SEP]"),
    ("pad_token", "<pad>"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
const DEBERTA: Tokens = &[
    ("bos_token", "[CLS]"),
    ("eos_token", "[SEP]"),
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
const BIG_BIRD: Tokens = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "[SEP]"),
    ("pad_token", "<pad>"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
const XLNET: Tokens = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "<sep>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<cls>"),
    ("mask_token", "<mask>"),
];
const HERBERT: Tokens = &[
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];
const GPT2: Tokens = &[
    ("bos_token", "<|endoftext|>"),
    ("eos_token", "<|endoftext|>"),
    ("unk_token", "<|endoftext|>"),
];
const QWEN2: Tokens = &[
    ("eos_token", "<|endoftext|>"),
    ("unk_token", "<|endoftext|>"),
    ("pad_token", "<|endoftext|>"),
];
const CLIP: Tokens = &[
    ("bos_token", "<|startoftext|>"),
    ("eos_token", "<|endoftext|>"),
    ("unk_token", "<|endoftext|>"),
    ("pad_token", "<|endoftext|>"),
];
const COHERE: Tokens = &[
    ("bos_token", "<BOS_TOKEN>"),
    ("eos_token", "<|END_OF_TURN_TOKEN|>"),
    ("unk_token", "<UNK>"),
];
const GEMMA: Tokens = &[
    ("bos_token", "<bos>"),
    ("eos_token", "<eos>"),
    ("unk_token", "<unk>"),
    ("pad_token", "<pad>"),
];
const T5: Tokens = &[
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("pad_token", "<pad>"),
];
const PEGASUS: Tokens = &[
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("pad_token", "<pad>"),
    ("mask_token", "<mask_2>"),
];
const BLOOM: Tokens = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("pad_token", "<pad>"),
];
const UDOP: Tokens = &[
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
];

const BERT_NORMALIZER: Tokens = &[
    ("do_lower_case", "lowercase"),
    ("strip_accents", "strip_accents"),
    ("tokenize_chinese_chars", "handle_chinese_chars"),
];
const MADE_UP: &[&str] = &[
    "<madeupword0>",
    "<madeupword1>",
    "<madeupword2>",
    "<madeupword3>",
    "<madeupword4>",
    "<madeupword5>",
    "<madeupword6>",
];
const NOT_USED: &[&str] = &["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"];

/// `PreTrainedTokenizerFast`, and what is not in [`TABLE`].
pub(super) static PLAIN: Defaults = row("PreTrainedTokenizerFast", &[]).inputs(WITH_TYPES);

#[rustfmt::skip]
static TABLE: &[Defaults] = &[
    row("AlbertTokenizer", ALBERT).whole(Whole::Mask).inputs(WITH_TYPES),
    row("BarthezTokenizer", ROBERTA).whole(Whole::Mask).models(&["barthez"]),
    row("BartTokenizer", ROBERTA).whole(Whole::NormalizedMask).post_processor(),
    row("BertTokenizer", BERT).inputs(WITH_TYPES).normalizer(BERT_NORMALIZER),
    row("BigBirdTokenizer", BIG_BIRD).whole(Whole::All).models(&["big_bird"]),
    row("BlenderbotTokenizer", ROBERTA).whole(Whole::Mask).post_processor().models(&["blenderbot"]),
    row("BloomTokenizer", BLOOM).models(&["bloom"]),
    row("CamembertTokenizer", ROBERTA).whole(Whole::Mask).additional(NOT_USED),
    row("CLIPTokenizer", CLIP),
    row("CodeGenTokenizer", GPT2).models(&["codegen", "phi"]),
    row("CodeLlamaTokenizer", BLOOM.split_at(3).0).left(),
    row("CohereTokenizer", COHERE).left(),
    row("DebertaTokenizer", DEBERTA).inputs(&["input_ids", "attention_mask", "token_type_ids"]).models(&["deberta"]),
    row("DebertaV2Tokenizer", DEBERTA).inputs(WITH_TYPES),
    row("DistilBertTokenizer", BERT).normalizer(BERT_NORMALIZER),
    row("FNetTokenizer", ALBERT.split_at(2).1).whole(Whole::Marks).inputs(&["input_ids", "token_type_ids"]).models(&["fnet"]),
    row("FunnelTokenizer", XLNET).inputs(WITH_TYPES).normalizer(BERT_NORMALIZER).models(&["funnel"]),
    row("GemmaTokenizer", GEMMA).left(),
    row("GPT2Tokenizer", GPT2),
    row("GPTNeoXTokenizer", GPT2),
    row("HerbertTokenizer", HERBERT).inputs(WITH_TYPES).models(&["herbert"]),
    row("LayoutLMv3Tokenizer", ROBERTA).prefix(Some(true)).post_processor().models(&["layoutlmv3", "lilt"]),
    row("LayoutXLMTokenizer", ROBERTA).whole(Whole::Mask).models(&["layoutxlm"]),
    row("LlamaTokenizer", BLOOM.split_at(3).0).left().prefix(None),
    row("M2M100Tokenizer", ROBERTA.split_at(5).0),
    row("MarianTokenizer", T5),
    row("MBart50Tokenizer", ROBERTA.split_at(1).1).whole(Whole::Mask),
    row("MBartTokenizer", ROBERTA).whole(Whole::Mask),
    row("MPNetTokenizer", MPNET).whole(Whole::All).normalizer(BERT_NORMALIZER),
    row("MvpTokenizer", ROBERTA).whole(Whole::All).post_processor(),
    row("NllbTokenizer", ROBERTA).whole(Whole::NormalizedMask),
    row("NougatTokenizer", BLOOM),
    row("OpenAIGPTTokenizer", &[("unk_token", "<unk>")]).models(&["openai-gpt"]),
    row("PegasusTokenizer", PEGASUS),
    row("Qwen2Tokenizer", QWEN2).whole(Whole::All),
    row("ReformerTokenizer", T5.split_at(2).0).models(&["reformer"]),
    row("RemBertTokenizer", ALBERT).whole(Whole::Mask).inputs(WITH_TYPES).models(&["rembert"]),
    row("RobertaTokenizer", ROBERTA).whole(Whole::Mask).post_processor(),
    row("SeamlessM4TTokenizer", ROBERTA.split_at(6).0).models(&["seamless_m4t", "seamless_m4t_v2"]),
    row("SpeechT5Tokenizer", BLOOM),
    row("SplinterTokenizer", BERT).additional(&["[QUESTION]"]).inputs(WITH_TYPES).normalizer(BERT_NORMALIZER.split_at(2).0).models(&["splinter"]),
    row("T5Tokenizer", T5).prefix(None),
    row("UdopTokenizer", UDOP).models(&["udop"]),
    row("WhisperTokenizer", GPT2).whole(Whole::All).models(&["whisper"]),
    row("XGLMTokenizer", ROBERTA.split_at(6).0).additional(MADE_UP).models(&["xglm"]),
    row("XLMRobertaTokenizer", ROBERTA).whole(Whole::Mask),
    row("XLNetTokenizer", XLNET).whole(Whole::Mask).additional(&["<eop>", "<eod>"]).inputs(WITH_TYPES).left().pad_token_type(3).models(&["xlnet"]),
];

/// The row of a class, by its name without `Fast`.
pub(super) fn of_class(name: &str) -> Option<&'static Defaults> {
    TABLE.iter().find(|row| row.class == name)
}

/// The row of a model's type.
pub(super) fn of_model(model_type: &str) -> Option<&'static Defaults> {
    TABLE.iter().find(|row| row.models.contains(&model_type))
}

impl Defaults {
    /// The text of a named token.
    pub fn token(&self, name: &str) -> Option<&'static str> {
        let (_, content) = self.tokens.iter().find(|(of, _)| *of == name)?;
        Some(content)
    }

    /// What the constructor makes of a named token's text, where it makes something of it.
    pub fn whole_token(&self, name: &str, content: &str) -> Option<AddedToken> {
        let is_mask = name == "mask_token";
        let is_whole = match self.whole {
            Whole::None => false,
            Whole::Mask | Whole::NormalizedMask => is_mask,
            Whole::Marks => is_mask || matches!(name, "sep_token" | "cls_token"),
            Whole::All => true,
        };
        is_whole.then(|| {
            AddedToken::from(content, true)
                .lstrip(is_mask)
                .normalized(self.whole == Whole::NormalizedMask)
        })
    }

    const fn whole(mut self, whole: Whole) -> Self {
        self.whole = whole;
        self
    }

    const fn models(mut self, models: &'static [&'static str]) -> Self {
        self.models = models;
        self
    }

    const fn additional(mut self, additional: &'static [&'static str]) -> Self {
        self.additional = additional;
        self
    }

    const fn inputs(mut self, inputs: &'static [&'static str]) -> Self {
        self.inputs = inputs;
        self
    }

    const fn left(mut self) -> Self {
        self.padding_side = Side::Left;
        self
    }

    const fn pad_token_type(mut self, kind: u32) -> Self {
        self.pad_token_type = kind;
        self
    }

    const fn prefix(mut self, prefix: Option<bool>) -> Self {
        self.add_prefix_space = prefix;
        self
    }

    const fn normalizer(mut self, normalizer: Tokens) -> Self {
        self.normalizer = normalizer;
        self
    }

    const fn post_processor(mut self) -> Self {
        self.sets_post_processor = true;
        self
    }
}

/// A class that brings these tokens along and nothing else.
const fn row(class: &'static str, tokens: Tokens) -> Defaults {
    Defaults {
        class,
        models: &[],
        tokens,
        additional: &[],
        whole: Whole::None,
        inputs: IDS_AND_MASK,
        padding_side: Side::Right,
        pad_token_type: 0,
        add_prefix_space: Some(false),
        normalizer: &[],
        sets_post_processor: false,
    }
}
