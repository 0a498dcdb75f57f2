//! `MPNet` (Song et al., 2020): `modeling_mpnet.py` of transformers. `RoBERTa`'s positions and heads, no
//! token types, and attention that knows distances by buckets.

use wire::Failure;

use super::{
    Blueprint, bert,
    plan::{Counting, HeadNames, LayerNames, Mixing, Names, Plan, ProjectionNames},
    roberta,
};
use crate::families::{json::Json, types::unfit};

/// `MPNetEmbeddings` counts from this id, whatever the configuration calls padding.
const PADDING: u32 = 1;
/// `compute_position_bias` always takes so many buckets.
pub const BUCKETS: usize = 32;

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let key = "relative_attention_num_buckets";
    let rows = json.number(key).unwrap_or(BUCKETS);
    if !(BUCKETS..=1 << 16).contains(&rows) {
        let what = format!("a whole number from {BUCKETS} to 65536");
        return Err(unfit(key, rows, &what));
    }
    let plan = Plan {
        counting: Counting::AfterPadding(PADDING),
        token_types: 0,
        mixing: Mixing::Bucketed(rows),
        // By `get_extended_attention_mask`, which all of transformers' models have.
        is_causal: json.flag("is_decoder").unwrap_or(false),
        ..Plan::read(json, "mpnet")?
    };
    Ok((plan, NAMES))
}

const NAMES: Names = Names {
    bases: ["mpnet.", ""],
    layer: LayerNames {
        projections: ProjectionNames::Separate([
            "attention.attn.q",
            "attention.attn.k",
            "attention.attn.v",
        ]),
        output: "attention.attn.o",
        attention_norm: "attention.LayerNorm",
        ..bert::NAMES.layer
    },
    heads: HeadNames {
        sequence: roberta::SEQUENCE,
        masked: roberta::MASKED,
        ..bert::NAMES.heads
    },
    ..bert::NAMES
};
