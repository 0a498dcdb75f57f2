//! The modules that sentence-transformers puts behind its `Pooling`, a file of weights each where they have
//! any: `Dense`, `LayerNorm`, `Normalize`, and `Dropout`, which does nothing to a trained model.

use std::path::Path;

use candle_core::{Result as TensorResult, Tensor};
use serde_json::Value;
use wire::Failure;

use crate::{
    Cancel, failures,
    hub::Layout,
    kernels::{Activate, Activation},
    layers::{LayerNorm, Linear},
    weights::{Description, Loader, Weights},
};

/// A module.
pub(super) enum Step {
    Dense(Linear, DenseActivation),
    LayerNorm(LayerNorm),
    Normalize,
    Dropout,
}

/// What a `Dense` does to its sums.
#[derive(Clone, Copy, Debug)]
pub(super) enum DenseActivation {
    Identity,
    Tanh,
    Sigmoid,
    Other(Activation),
}

impl Step {
    /// The module of a class in its folder; `None` of one that is not known.
    pub fn read(kind: &str, folder: &Path, cancel: &Cancel) -> Result<Option<Self>, Failure> {
        Ok(Some(match kind {
            "Normalize" => Self::Normalize,
            "Dropout" => Self::Dropout,
            "Dense" => {
                let weights = open(folder)?;
                let config = config(&weights);
                check_ends(config)?;
                let shape = (
                    number(config, "out_features")?,
                    number(config, "in_features")?,
                );
                let activation = DenseActivation::read(config)?;
                let linear =
                    with_loader(&weights, cancel, |loader| loader.linear("linear", shape))?;
                Self::Dense(linear, activation)
            }
            "LayerNorm" => {
                let weights = open(folder)?;
                let size = number(config(&weights), "dimension")?;
                Self::LayerNorm(with_loader(&weights, cancel, |loader| {
                    loader.layer_norm("norm", size, 1e-5)
                })?)
            }
            _ => return Ok(None),
        }))
    }

    /// From vectors `(1, texts, width)` to such.
    pub fn forward(&self, x: &Tensor) -> TensorResult<Tensor> {
        match self {
            Self::Dense(linear, activation) => activation.of(&linear.forward(x)?),
            Self::LayerNorm(norm) => norm.forward(x),
            Self::Normalize => {
                let lengths = x.sqr()?.sum_keepdim(2)?.sqrt()?;
                x.broadcast_div(&lengths.maximum(1e-12)?)
            }
            Self::Dropout => Ok(x.clone()),
        }
    }
}

impl DenseActivation {
    fn read(config: &Value) -> Result<Self, Failure> {
        let Some(name) = config["activation_function"].as_str() else {
            return Ok(Self::Tanh);
        };
        let own = name.strip_prefix("torch.nn.modules.");
        Ok(match own {
            Some("linear.Identity") => Self::Identity,
            Some("activation.Tanh") => Self::Tanh,
            Some("activation.Sigmoid") => Self::Sigmoid,
            Some("activation.ReLU") => Self::Other(Activation::Relu),
            Some("activation.GELU") => Self::Other(Activation::Gelu),
            Some("activation.SiLU") => Self::Other(Activation::Silu),
            _ => {
                return Err(failures::unsupported(format!(
                    "a `Dense` has the activation `{name}`, which is not known"
                ))
                .hint(
                    "those that load: Identity, Tanh, Sigmoid, ReLU, GELU and SiLU of torch.nn",
                ));
            }
        })
    }

    fn of(self, x: &Tensor) -> TensorResult<Tensor> {
        match self {
            Self::Identity => Ok(x.clone()),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => (x.neg()?.exp()? + 1.0)?.recip(),
            Self::Other(activation) => x.apply_op1_no_bwd(&Activate(activation)),
        }
    }
}

/// Fails on a `Dense` between other things than vectors of texts.
fn check_ends(config: &Value) -> Result<(), Failure> {
    for key in ["module_input_name", "module_output_name"] {
        match config[key].as_str() {
            None | Some("sentence_embedding") => {}
            Some(other) => {
                return Err(failures::unsupported(format!(
                    "a `Dense` has the `{key}` `{other}`, which is no vector of a text"
                ))
                .hint("use `run`, which gives the states of all tokens"));
            }
        }
    }
    Ok(())
}

fn open(folder: &Path) -> Result<Weights, Failure> {
    Weights::open(&Layout::Folder(folder.to_owned()))
}

fn config(weights: &Weights) -> &Value {
    match &weights.description {
        Description::Json(config) => config,
        Description::Gguf(_) => &Value::Null,
    }
}

fn number(config: &Value, key: &str) -> Result<usize, Failure> {
    let number = config[key]
        .as_u64()
        .filter(|number| (1..1 << 24).contains(number));
    number.map(|number| number as usize).ok_or_else(|| {
        failures::unsupported(format!(
            "a module of `modules.json` has the `{key}` {}",
            config[key]
        ))
        .hint("the repository is at fault; report it to its owner")
    })
}

fn with_loader<T>(
    weights: &Weights,
    cancel: &Cancel,
    load: impl FnOnce(&mut Loader) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let mut silent = |_| {};
    let mut loader = Loader::new(weights, "a module", cancel, &mut silent);
    loader.prefer_dense();
    load(&mut loader)
}
