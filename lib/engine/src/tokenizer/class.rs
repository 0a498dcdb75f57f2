//! Which of transformers' tokenizer classes a repository asks for, and what that class brings along
//! where the files are silent: how the vocabulary is read, and what `defaults.rs` lists. The
//! classes that differ only in their name are one here.

use super::{
    defaults::{self, Defaults},
    language_codes,
};

/// A tokenizer class of transformers 4.57.6, by what sets it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    Bert,
    /// As BERT, without token types.
    DistilBert,
    /// `WordPiece` between the marks of `RoBERTa`.
    Mpnet,
    Gpt2,
    Roberta,
    Bart,
    /// As BART, with special tokens that are found otherwise.
    Mvp,
    Qwen2,
    Clip,
    Llama,
    /// As Llama, with the marks between which code is filled in.
    CodeLlama,
    Gemma,
    Cohere,
    GptNeoX,
    T5,
    XlmRoberta,
    Camembert,
    DebertaV2,
    Albert,
    Pegasus,
    Marian,
    SpeechT5,
    MBart,
    MBart50,
    Nllb,
    M2M100,
    /// One that is read from a `tokenizer.json` alone, by its name in `defaults.rs`.
    Named(&'static str),
    /// `PreTrainedTokenizerFast`, and what is not known.
    Plain,
}

impl Class {
    /// The class of a name, with or without `Fast`. Names that are not here add nothing of their own
    /// to a `tokenizer.json`, and cannot be read from other files.
    pub fn named(name: &str) -> Self {
        let name = name.strip_suffix("Fast").unwrap_or(name);
        match name {
            "BertTokenizer"
            | "ElectraTokenizer"
            | "MobileBertTokenizer"
            | "ConvBertTokenizer"
            | "LxmertTokenizer"
            | "SqueezeBertTokenizer"
            | "RealmTokenizer"
            | "LayoutLMTokenizer"
            | "LayoutLMv2Tokenizer"
            | "DPRContextEncoderTokenizer"
            | "DPRQuestionEncoderTokenizer"
            | "DPRReaderTokenizer" => Self::Bert,
            "DistilBertTokenizer" | "RetriBertTokenizer" => Self::DistilBert,
            "MPNetTokenizer" => Self::Mpnet,
            "GPT2Tokenizer" => Self::Gpt2,
            "RobertaTokenizer" | "LongformerTokenizer" => Self::Roberta,
            "BartTokenizer" | "LEDTokenizer" => Self::Bart,
            "MvpTokenizer" => Self::Mvp,
            "Qwen2Tokenizer" => Self::Qwen2,
            "CLIPTokenizer" => Self::Clip,
            "LlamaTokenizer" => Self::Llama,
            "CodeLlamaTokenizer" => Self::CodeLlama,
            "GemmaTokenizer" => Self::Gemma,
            "CohereTokenizer" => Self::Cohere,
            "GPTNeoXTokenizer" => Self::GptNeoX,
            "T5Tokenizer" | "MT5Tokenizer" => Self::T5,
            "XLMRobertaTokenizer" => Self::XlmRoberta,
            "CamembertTokenizer" => Self::Camembert,
            "DebertaV2Tokenizer" => Self::DebertaV2,
            "AlbertTokenizer" => Self::Albert,
            "PegasusTokenizer" => Self::Pegasus,
            "MarianTokenizer" => Self::Marian,
            "SpeechT5Tokenizer" => Self::SpeechT5,
            "MBartTokenizer" => Self::MBart,
            "MBart50Tokenizer" => Self::MBart50,
            "NllbTokenizer" => Self::Nllb,
            "M2M100Tokenizer" => Self::M2M100,
            _ => Self::of_row(defaults::of_class(name)),
        }
    }

    fn of_row(row: Option<&'static Defaults>) -> Self {
        row.map_or(Self::Plain, |row| Self::Named(row.class))
    }

    /// The class of a `model_type` (`TOKENIZER_MAPPING_NAMES` in `tokenization_auto.py`).
    pub fn of_model(model_type: &str) -> Self {
        match model_type {
            "align" | "bark" | "bert" | "blip" | "bros" | "chinese_clip" | "convbert" | "dpr"
            | "layoutlm" | "layoutlmv2" | "electra" | "ernie" | "git" | "grounding-dino"
            | "lxmert" | "megatron-bert" | "mm-grounding-dino" | "mobilebert" | "nezha"
            | "qdqbert" | "realm" | "squeezebert" | "tvp" | "vilt" | "visual_bert" => Self::Bert,
            "distilbert" | "retribert" => Self::DistilBert,
            "mpnet" => Self::Mpnet,
            "blip-2" | "dbrx" | "emu3" | "exaone4" | "flex_olmo" | "gpt2" | "gpt_bigcode"
            | "gpt_neo" | "gptj" | "granite" | "granitemoe" | "granitemoehybrid"
            | "granitemoeshared" | "instructblip" | "instructblipvideo" | "minimax" | "olmo3"
            | "opt" | "starcoder2" => Self::Gpt2,
            "bridgetower"
            | "clap"
            | "data2vec-text"
            | "ibert"
            | "longformer"
            | "mega"
            | "mra"
            | "roberta"
            | "roberta-prelayernorm" => Self::Roberta,
            "bart" | "led" => Self::Bart,
            "mvp" => Self::Mvp,
            "colqwen2" | "internvl" | "qwen2" | "qwen2_5_omni" | "qwen2_5_vl" | "qwen2_audio"
            | "qwen2_moe" | "qwen2_vl" | "qwen3" | "qwen3_moe" | "qwen3_next"
            | "qwen3_omni_moe" | "qwen3_vl" | "qwen3_vl_moe" => Self::Qwen2,
            "aimv2" | "clip" | "clip_text_model" | "clipseg" | "groupvit" | "omdet-turbo"
            | "oneformer" | "owlv2" | "owlvit" | "xclip" => Self::Clip,
            "arcee" | "aria" | "chameleon" | "colpali" | "deepseek_v2" | "deepseek_v3"
            | "deepseek_vl" | "deepseek_vl_hybrid" | "diffllama" | "ernie4_5" | "ernie4_5_moe"
            | "idefics" | "idefics2" | "idefics3" | "jamba" | "janus" | "jetmoe" | "llama"
            | "llama4" | "llama4_text" | "llava" | "llava_next" | "llava_next_video"
            | "llava_onevision" | "ministral" | "mistral" | "mistral3" | "mixtral" | "mllama"
            | "paligemma" | "persimmon" | "phi3" | "phimoe" | "video_llava" | "vipllava"
            | "zamba" | "zamba2" => Self::Llama,
            "code_llama" => Self::CodeLlama,
            "gemma" | "gemma2" | "gemma3" | "gemma3_text" | "gemma3n" | "gemma3n_text"
            | "recurrent_gemma" | "shieldgemma2" | "siglip2" | "t5gemma" => Self::Gemma,
            "aya_vision" | "cohere" | "cohere2" => Self::Cohere,
            "falcon_mamba" | "gpt_neox" | "mamba" | "mamba2" | "mpt" | "olmo" | "olmo2"
            | "olmoe" | "rwkv" | "stablelm" | "xlstm" => Self::GptNeoX,
            "longt5"
            | "mt5"
            | "musicgen"
            | "musicgen_melody"
            | "pix2struct"
            | "pop2piano"
            | "switch_transformers"
            | "t5"
            | "umt5" => Self::T5,
            "altclip" | "kosmos-2" | "metaclip_2" | "xlm-roberta" | "xlm-roberta-xl" | "xmod" => {
                Self::XlmRoberta
            }
            "camembert" => Self::Camembert,
            "deberta-v2" => Self::DebertaV2,
            "albert" | "nystromformer" | "yoso" => Self::Albert,
            "bigbird_pegasus" | "pegasus" | "pegasus_x" => Self::Pegasus,
            "marian" => Self::Marian,
            "speecht5" => Self::SpeechT5,
            "mbart" => Self::MBart,
            "mbart50" => Self::MBart50,
            "nllb" | "nllb-moe" => Self::Nllb,
            "m2m_100" => Self::M2M100,
            _ => Self::of_row(defaults::of_model(model_type)),
        }
    }

    /// The name under which it is saved where the files name none.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bert => "BertTokenizer",
            Self::DistilBert => "DistilBertTokenizer",
            Self::Mpnet => "MPNetTokenizer",
            Self::Gpt2 => "GPT2Tokenizer",
            Self::Roberta => "RobertaTokenizer",
            Self::Bart => "BartTokenizer",
            Self::Mvp => "MvpTokenizer",
            Self::Qwen2 => "Qwen2Tokenizer",
            Self::Clip => "CLIPTokenizer",
            Self::Llama => "LlamaTokenizer",
            Self::CodeLlama => "CodeLlamaTokenizer",
            Self::Gemma => "GemmaTokenizer",
            Self::Cohere => "CohereTokenizer",
            Self::GptNeoX => "GPTNeoXTokenizer",
            Self::T5 => "T5Tokenizer",
            Self::XlmRoberta => "XLMRobertaTokenizer",
            Self::Camembert => "CamembertTokenizer",
            Self::DebertaV2 => "DebertaV2Tokenizer",
            Self::Albert => "AlbertTokenizer",
            Self::Pegasus => "PegasusTokenizer",
            Self::Marian => "MarianTokenizer",
            Self::SpeechT5 => "SpeechT5Tokenizer",
            Self::MBart => "MBartTokenizer",
            Self::MBart50 => "MBart50Tokenizer",
            Self::Nllb => "NllbTokenizer",
            Self::M2M100 => "M2M100Tokenizer",
            Self::Named(name) => name,
            Self::Plain => "PreTrainedTokenizerFast",
        }
    }

    /// What its constructor brings along.
    pub fn defaults(self) -> &'static Defaults {
        defaults::of_class(self.name()).unwrap_or(&defaults::PLAIN)
    }

    /// Further special tokens that its constructor makes up.
    pub fn additional_special_tokens(self) -> Vec<String> {
        match self {
            Self::T5 => (0..100)
                .map(|number| format!("<extra_id_{number}>"))
                .collect(),
            Self::Pegasus => std::iter::once("<mask_1>".to_owned())
                .chain((2..PEGASUS_OFFSET).map(|number| format!("<unk_{number}>")))
                .collect(),
            Self::MBart | Self::MBart50 | Self::Nllb => {
                let codes = self.language_codes().iter();
                codes.map(|code| (*code).to_owned()).collect()
            }
            _ => {
                let tokens = self.defaults().additional.iter();
                tokens.map(|token| (*token).to_owned()).collect()
            }
        }
    }

    /// The languages that its code lists.
    pub fn language_codes(self) -> &'static [&'static str] {
        match self {
            Self::MBart => language_codes::MBART,
            Self::MBart50 => &language_codes::MBART50,
            Self::Nllb => &language_codes::NLLB,
            Self::M2M100 => &language_codes::M2M100,
            _ => &[],
        }
    }

    /// Whether the Python class that a vocabulary is converted from makes its special tokens with
    /// `AddedToken(token, lstrip=False, rstrip=False)`, and so searches them in normalised text.
    pub fn normalizes_special_tokens(self) -> bool {
        matches!(
            self,
            Self::Gpt2 | Self::Roberta | Self::Bart | Self::Mvp | Self::Clip
        )
    }

    /// Whether the blank before a mask token belongs to it.
    pub fn mask_takes_blank(self) -> bool {
        matches!(
            self,
            Self::Roberta
                | Self::Mpnet
                | Self::Bart
                | Self::Mvp
                | Self::XlmRoberta
                | Self::Camembert
                | Self::Albert
                | Self::MBart
                | Self::MBart50
                | Self::Nllb
        )
    }

    /// Where the class itself puts the sequence's first and last token, by `add_bos_token` and
    /// `add_eos_token`, whatever its `tokenizer.json` says: whether the first is put when no file says.
    pub fn adds_bos_and_eos(self) -> Option<bool> {
        match self {
            Self::Llama | Self::CodeLlama | Self::Gemma | Self::Cohere => Some(true),
            Self::GptNeoX => Some(false),
            _ => None,
        }
    }

    /// Whether transformers has this class in Python only.
    pub fn is_python_only(self) -> bool {
        matches!(self, Self::Marian | Self::SpeechT5 | Self::M2M100)
    }
}

/// Ids before the first piece of a Pegasus vocabulary.
pub(super) const PEGASUS_OFFSET: usize = 103;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// `models.json` is transformers' own table, by `make_tokenizers.py`.
    #[test]
    fn models_have_the_classes_of_transformers() {
        let table = include_str!("../../tests/fixtures/tokenizers/models.json");
        let table: BTreeMap<String, String> = serde_json::from_str(table).expect("is JSON");
        assert!(table.len() > 255);
        for (model, class) in &table {
            assert_eq!(Class::of_model(model), Class::named(class), "{model}");
        }
    }
}
