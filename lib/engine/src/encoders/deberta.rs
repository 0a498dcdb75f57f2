//! `DeBERTa` v2 and v3 (He et al., 2020 and 2021): `modeling_deberta_v2.py` of transformers. BERT's layers,
//! with attention in which tokens meet vectors of distances, and in some a convolution beside the first.

use wire::Failure;

use super::{
    Blueprint, bert,
    plan::{
        Convolution, Counting, Disentangling, HeadActivation, HeadNames, LayerNames, Mixing, Names,
        PartNames, Plan, ProjectionNames, TransformNames,
    },
};
use crate::{
    failures,
    families::{json::Json, types::unfit},
};

/// By `config.json`.
pub fn from_json(json: Json) -> Result<Blueprint, Failure> {
    let mut plan = Plan::read(json, "deberta-v2")?;
    let own_width = |key: &str, width: usize| json.number(key).is_none_or(|own| own == width);
    if !own_width("attention_head_size", plan.hidden / plan.heads.max(1))
        || !own_width("pooler_hidden_size", plan.hidden)
    {
        return Err(failures::unsupported(
            "deberta-v2 with heads or a pooler of another width than the hidden state's is not supported",
        ));
    }
    plan.epsilon = json.float("layer_norm_eps").unwrap_or(1e-7);
    plan.token_types = json.number("type_vocab_size").unwrap_or(0);
    plan.projects_first = true;
    if json.flag("position_biased_input") == Some(false) {
        plan.counting = Counting::Nowhere;
    }
    plan.mixing = Mixing::Disentangled(disentangling(json, plan.positions)?);
    plan.convolution = convolution(json, plan.hidden)?;
    Ok((plan, names(json)?))
}

fn disentangling(json: Json, positions: usize) -> Result<Disentangling, Failure> {
    let listed = json.list("pos_att_type").into_iter().flatten();
    let listed = listed.filter_map(serde_json::Value::as_str);
    // The first files have them in one text, as `p2c|c2p`.
    let joined = json.text("pos_att_type").unwrap_or_default().split('|');
    let kinds: Vec<&str> = listed.chain(joined).map(str::trim).collect();
    // -1 stands for what is not set, and is no number here.
    let span = json
        .number("max_relative_positions")
        .filter(|&most| most > 0);
    let most = span.unwrap_or(positions);
    let buckets = json.number("position_buckets").filter(|&count| count > 0);
    let span = buckets.unwrap_or(most);
    let what = "a whole number from 2 to 65536, or -1";
    if !(2..=1 << 16).contains(&span) {
        let key = json.key_of(&["position_buckets", "max_relative_positions"]);
        return Err(unfit(key, span, what));
    }
    if most < 2 {
        return Err(unfit("max_relative_positions", most, what));
    }
    let norms = json.text("norm_rel_ebd").unwrap_or("none").to_lowercase();
    Ok(Disentangling {
        relative: json.flag("relative_attention").unwrap_or(false),
        content_to_position: kinds.contains(&"c2p"),
        position_to_content: kinds.contains(&"p2c"),
        shares_projections: json.flag("share_att_key").unwrap_or(false),
        normed: norms.split('|').any(|norm| norm.trim() == "layer_norm"),
        span,
        buckets: buckets.map(|count| (count, most)),
    })
}

fn convolution(json: Json, hidden: usize) -> Result<Option<Convolution>, Failure> {
    let width = json.number("conv_kernel_size").unwrap_or(0);
    if width == 0 {
        return Ok(None);
    }
    let groups = json.number("conv_groups").unwrap_or(1);
    if width.is_multiple_of(2) || width > 1 << 10 {
        return Err(unfit("conv_kernel_size", width, "an odd number up to 1023"));
    }
    if groups == 0 || !hidden.is_multiple_of(groups) {
        let what = format!("a divisor of `hidden_size`, which is {hidden}");
        return Err(unfit("conv_groups", groups, &what));
    }
    Ok(Some(Convolution {
        width,
        groups,
        activation: HeadActivation::read(json, "conv_act", "tanh")?,
    }))
}

fn names(json: Json) -> Result<Names, Failure> {
    let mut names = NAMES;
    if let Some(pooler) = &mut names.heads.sequence.transform {
        pooler.activation = HeadActivation::read(json, "pooler_hidden_act", "gelu")?;
    }
    if json.flag("legacy") == Some(false) {
        names.heads.masked = PartNames {
            transform: Some(TransformNames {
                dense: "lm_predictions.lm_head.dense",
                activation: HeadActivation::Own,
                norm: "lm_predictions.lm_head.LayerNorm",
            }),
            output: "",
            bias: "lm_predictions.lm_head.bias",
        };
    }
    Ok(names)
}

const NAMES: Names = Names {
    bases: ["deberta.", ""],
    projection: "embeddings.embed_proj",
    layer: LayerNames {
        projections: ProjectionNames::Separate([
            "attention.self.query_proj",
            "attention.self.key_proj",
            "attention.self.value_proj",
        ]),
        ..bert::NAMES.layer
    },
    heads: HeadNames {
        sequence: PartNames {
            transform: Some(TransformNames {
                dense: "pooler.dense",
                activation: HeadActivation::Own,
                norm: "",
            }),
            output: "classifier",
            bias: "",
        },
        ..bert::NAMES.heads
    },
    ..bert::NAMES
};
