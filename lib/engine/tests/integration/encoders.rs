//! Tiny random encoders of every architecture and head against transformers (fixtures by
//! `make_encoders.py`), in one batch of rows of different lengths and row by row.

use engine::{
    Cancel,
    encoders::{self, Encoder, HeadKind, Row},
    hub::Layout,
    weights::{Loader, Weights},
};
use serde::Deserialize;
use wire::host::Event;

use crate::support::{fixture, json};

/// Largest difference of a logit.
const TOLERANCE: f32 = 1e-4;

#[derive(Deserialize)]
struct Case {
    rows: Vec<CaseRow>,
    /// For each row its states or logits; of a head for sequences, one.
    expected: Vec<Vec<Vec<f32>>>,
}

#[derive(Deserialize)]
struct CaseRow {
    ids: Vec<u32>,
    token_types: Vec<u32>,
}

fn load(name: &str) -> Encoder {
    load_with(name, &mut |_| {})
}

fn load_with(name: &str, sink: &mut dyn FnMut(Event)) -> Encoder {
    let layout = Layout::Folder(fixture(&format!("encoders/{name}")));
    let mut weights = Weights::open(&layout).unwrap();
    encoders::rename(&mut weights);
    assert!(encoders::knows(&weights), "{name}");
    let cancel = Cancel::new();
    let mut loader = Loader::new(&weights, name, &cancel, sink);
    encoders::build(&weights, &mut loader).unwrap()
}

/// What the encoder makes of some rows, each as in the fixture.
fn outputs(encoder: &Encoder, rows: &[&CaseRow]) -> Vec<Vec<Vec<f32>>> {
    let input: Vec<Row> = rows
        .iter()
        .map(|row| Row {
            ids: &row.ids,
            token_types: &row.token_types,
        })
        .collect();
    let states = encoder.hidden_states(&input).unwrap();
    let mut start = 0;
    let each = rows.iter().map(|row| {
        let length = row.ids.len();
        let own = states.narrow(1, start, length).unwrap();
        let own = match encoder.head() {
            Some(HeadKind::Sequence) => encoder.pooled(&own, &[length]).unwrap(),
            _ => own,
        };
        start += length;
        let own = match encoder.head() {
            Some(_) => encoder.logits(&own).unwrap(),
            None => own,
        };
        own.squeeze(0).unwrap().to_vec2::<f32>().unwrap()
    });
    each.collect()
}

fn distance(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> f32 {
    assert_eq!(ours.len(), theirs.len());
    let pairs = ours.iter().flatten().zip(theirs.iter().flatten());
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn check(architecture: &str) {
    for head in ["base", "sequence", "token", "question", "masked"] {
        check_one(&format!("{architecture}_{head}"));
    }
}

fn check_one(name: &str) {
    let case: Case =
        serde_json::from_value(json(&format!("encoders/{name}/expected.json"))).unwrap();
    let encoder = load(name);
    let rows: Vec<&CaseRow> = case.rows.iter().collect();
    let together = outputs(&encoder, &rows);
    for (index, expected) in case.expected.iter().enumerate() {
        let error = distance(&together[index], expected);
        assert!(error < TOLERANCE, "{name}, row {index}: {error}");
        let alone = outputs(&encoder, &rows[index..=index]);
        let error = distance(&alone[0], expected);
        assert!(error < TOLERANCE, "{name}, row {index} alone: {error}");
    }
}

/// `ElectraForPreTraining` has no head for masked tokens, whatever its class is called.
#[test]
fn an_electra_discriminator() {
    check_one("electra_discriminator");
    assert_eq!(load("electra_discriminator").head(), None);
}

/// A head that the configuration does not name is found by its weights.
#[test]
fn a_head_without_a_name() {
    check_one("bert_unnamed");
    assert_eq!(load("bert_unnamed").head(), Some(HeadKind::Masked));
}

#[test]
fn bert() {
    check("bert");
}

#[test]
fn distilbert() {
    check("distilbert");
}

#[test]
fn roberta() {
    check("roberta");
}

#[test]
fn xlm_roberta() {
    check("xlm_roberta");
}

#[test]
fn albert() {
    check("albert");
}

#[test]
fn electra() {
    check("electra");
}

#[test]
fn mpnet() {
    check("mpnet");
}

/// Shared projections, a norm of distances, buckets, no table of positions.
#[test]
fn deberta_v3() {
    check("deberta_v3");
}

/// Projections of their own, distances that end, a convolution, narrow token vectors.
#[test]
fn deberta_v2() {
    check("deberta_v2");
}

/// One kind of distances alone, a grouped convolution, the later head for masked tokens.
#[test]
fn deberta_with_other_settings() {
    check("deberta_own");
}

#[test]
fn modernbert() {
    check("modernbert");
}

/// With biases, the mean of states under the head, and one base for all layers.
#[test]
fn modernbert_with_other_settings() {
    check("modernbert_mean");
}

/// The first checkpoints of BERT call the vectors of a norm otherwise.
#[test]
fn old_names_of_norms() {
    let layout = Layout::Folder(fixture("encoders/bert_base"));
    let mut weights = Weights::open(&layout).unwrap();
    let entry = weights.tensors["embeddings.LayerNorm.weight"].clone();
    weights.tensors.clear();
    weights
        .tensors
        .insert("bert.LayerNorm.gamma".to_owned(), entry.clone());
    weights
        .tensors
        .insert("bert.LayerNorm.beta".to_owned(), entry);
    encoders::rename(&mut weights);
    let names: Vec<&str> = weights.tensors.keys().map(String::as_str).collect();
    assert_eq!(names, ["bert.LayerNorm.bias", "bert.LayerNorm.weight"]);
}

/// A file may have an output matrix though the head is tied: transformers takes the table of tokens all the same.
#[test]
fn a_matrix_that_is_tied_away() {
    check_one("bert_tied");
}

/// `is_decoder` makes attention causal, but for ALBERT's.
#[test]
fn encoders_that_are_decoders() {
    for name in ["bert_decoder", "mpnet_decoder", "albert_decoder"] {
        check_one(name);
    }
}

/// Vectors of distances in the place of positions, by queries and by queries and keys; ALBERT's are not scaled.
#[test]
fn relative_positions() {
    for name in [
        "bert_relative",
        "bert_relative_query",
        "roberta_relative_query",
        "xlm_roberta_relative",
        "camembert_relative_query",
        "electra_relative_query",
        "albert_relative",
        "albert_relative_query",
    ] {
        check_one(name);
    }
    // No table of positions is looked at, and so its length alone counts, without what it skips for padding.
    assert_eq!(load("roberta_relative_query").limit(), Some(40));
    assert_eq!(load("roberta_token").limit(), Some(38));
}

/// Steps that do not come out even, and several layers at each.
#[test]
fn albert_in_groups() {
    check_one("albert_groups");
    check_one("albert_groups_of_one");
}

/// Of all that have no weights of their own; the others' tests have the rest.
#[test]
fn activations() {
    for name in [
        "bert_quick_gelu",
        "bert_gelu_10",
        "bert_gelu_fast",
        "bert_gelu_accurate",
        "roberta_relu2",
        "camembert_gelu_python",
        "distilbert_mish",
        "electra_laplace",
        "albert_relu6",
        "mpnet_leaky_relu",
        "deberta_linear",
        "modernbert_sigmoid",
        "modernbert_quick_gelu",
    ] {
        check_one(name);
    }
}

/// transformers warns of weights that its class does not have. These of a discriminator are the only ones here.
#[test]
fn weights_that_are_not_used_are_told() {
    let folders = std::fs::read_dir(fixture("encoders")).unwrap();
    let mut told = Vec::new();
    for folder in folders {
        let name = folder.unwrap().file_name().into_string().unwrap();
        load_with(&name, &mut |event| {
            if let Event::Notice(notice) = event {
                told.push(notice);
            }
        });
    }
    let names = ["dense", "dense_prediction"].map(|layer| {
        format!(
            "`discriminator_predictions.{layer}.bias`, `discriminator_predictions.{layer}.weight`"
        )
    });
    let expected = format!(
        "`electra_discriminator`: some weights of its files were not used, as the model has no place for them: {}",
        names.join(", ")
    );
    assert_eq!(told, [expected]);
}
