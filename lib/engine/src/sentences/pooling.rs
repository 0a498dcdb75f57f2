//! sentence-transformers' `Pooling`: from the states of a text's tokens to one vector. Rows have no padding
//! here, so its mask says one thing only: that the tokens of a prompt do not count.

use candle_core::{Result as TensorResult, Tensor};
use serde_json::Value;
use wire::Failure;

use crate::failures;

/// How states become one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pooling {
    /// What is made of them; side by side where it is several.
    modes: Vec<Mode>,
    /// Whether the tokens of a prompt count.
    pub includes_prompt: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    First,
    Max,
    Mean,
    /// The sum over the root of the count.
    MeanSqrt,
    /// Each token as often as its place says.
    Weighted,
    Last,
}

/// Keys of older configurations, in the order in which their vectors stand side by side.
const MODES: [(&str, &str, Mode); 6] = [
    ("pooling_mode_cls_token", "cls", Mode::First),
    ("pooling_mode_max_tokens", "max", Mode::Max),
    ("pooling_mode_mean_tokens", "mean", Mode::Mean),
    (
        "pooling_mode_mean_sqrt_len_tokens",
        "mean_sqrt_len_tokens",
        Mode::MeanSqrt,
    ),
    (
        "pooling_mode_weightedmean_tokens",
        "weightedmean",
        Mode::Weighted,
    ),
    ("pooling_mode_lasttoken", "lasttoken", Mode::Last),
];

impl Pooling {
    /// The mean of all tokens.
    pub fn mean() -> Self {
        Self {
            modes: vec![Mode::Mean],
            includes_prompt: true,
        }
    }

    /// The last token.
    pub fn last() -> Self {
        Self {
            modes: vec![Mode::Last],
            includes_prompt: true,
        }
    }

    /// Whether it is the last token alone.
    pub fn is_last(&self) -> bool {
        self.modes == [Mode::Last]
    }

    /// By its `config.json`. Fails on a mode that is not known.
    pub fn read(config: &Value) -> Result<Self, Failure> {
        let named: Vec<&str> = match &config["pooling_mode"] {
            Value::String(mode) => vec![mode],
            Value::Array(modes) => modes.iter().filter_map(Value::as_str).collect(),
            _ => MODES
                .iter()
                .filter(|(key, ..)| config[*key] == true)
                .map(|(_, name, _)| *name)
                .collect(),
        };
        let mode = |name: &str| {
            let found = MODES.iter().find(|(_, known, _)| *known == name);
            let known = MODES.map(|(_, name, _)| name).join(", ");
            found.map(|(_, _, mode)| *mode).ok_or_else(|| {
                failures::unsupported(format!(
                    "`Pooling` has the mode `{name}`, which is not known"
                ))
                .hint(format!("those that load: {known}"))
            })
        };
        let modes: Vec<Mode> = named.into_iter().map(mode).collect::<Result<_, _>>()?;
        Ok(Self {
            modes: if modes.is_empty() {
                vec![Mode::Mean]
            } else {
                modes
            },
            includes_prompt: config["include_prompt"].as_bool().unwrap_or(true),
        })
    }

    /// From the states of all rows' tokens `(1, tokens, hidden)` to a vector a row. The first `skipped` tokens
    /// of each do not count.
    pub fn of_rows(
        &self,
        states: &Tensor,
        lengths: &[usize],
        skipped: usize,
    ) -> TensorResult<Vec<Vec<f32>>> {
        let width = states.dim(2)?;
        let states = states.flatten_all()?.to_vec1::<f32>()?;
        let mut rest = states.as_slice();
        let rows = lengths.iter().map(|&length| {
            let (own, after) = rest.split_at(length * width);
            rest = after;
            let pooled = self.modes.iter().map(|mode| mode.of(own, width, skipped));
            pooled.collect::<Vec<_>>().concat()
        });
        Ok(rows.collect())
    }
}

impl Mode {
    /// Of a row's states. A row of which nothing counts is what the masks of sentence-transformers make of it.
    fn of(self, states: &[f32], width: usize, skipped: usize) -> Vec<f32> {
        let all = states.chunks_exact(width);
        let count = all.len();
        let counting = all.clone().skip(skipped);
        let left = counting.len() as f32;
        match self {
            Self::First => {
                let first = if skipped < count { skipped } else { 0 };
                all.clone().nth(first).unwrap_or_default().to_vec()
            }
            Self::Last if skipped < count => all.clone().next_back().unwrap_or_default().to_vec(),
            Self::Last => vec![0.0; width],
            Self::Max => {
                let mut found = vec![f32::NEG_INFINITY; width];
                for token in counting {
                    for (most, value) in found.iter_mut().zip(token) {
                        *most = most.max(*value);
                    }
                }
                found
            }
            Self::Mean => summed(counting.map(|token| (1.0, token)), width, left.max(1e-9)),
            Self::MeanSqrt => {
                let root = left.max(1e-9).sqrt();
                summed(counting.map(|token| (1.0, token)), width, root)
            }
            Self::Weighted => {
                let weighted = (1..).map(|place: u32| place as f32).zip(all).skip(skipped);
                let sum: f32 = weighted.clone().map(|(weight, _)| weight).sum();
                summed(weighted, width, sum.max(1e-9))
            }
        }
    }
}

/// The weighted sum of states over a divisor.
fn summed<'a>(
    states: impl Iterator<Item = (f32, &'a [f32])>,
    width: usize,
    divisor: f32,
) -> Vec<f32> {
    let mut sums = vec![0.0; width];
    for (weight, state) in states {
        for (sum, value) in sums.iter_mut().zip(state) {
            *sum += weight * value;
        }
    }
    for sum in &mut sums {
        *sum /= divisor;
    }
    sums
}
