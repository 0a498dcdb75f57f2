//! Where the parts of a model live: transformers' `device_map`, resolved against the names of a model's
//! parameters to a device for each layer. Which cards there are, `cuda` says.

mod spread;

use std::collections::{BTreeMap, BTreeSet};

use wire::{
    Failure,
    model::{Device, DeviceMap},
};

use crate::{cuda, failures, families, weights::Weights};

pub(crate) use spread::Parts;

/// Modules that maps name and that have no parameters of their own.
const WITHOUT_PARAMETERS: [&str; 8] = [
    "rotary_emb",
    "rotary_emb_local",
    "act_fn",
    "activation_fn",
    "act",
    "drop",
    "attn_dropout",
    "resid_dropout",
];

/// A device for each part of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// What was asked for, with devices that are there: transformers' `hf_device_map`.
    map: Vec<(String, Device)>,
    /// Keys of the map that name no module.
    strangers: Vec<String>,
    /// A line on what `auto` took, where that could surprise.
    choice: Option<String>,
    /// Of token vectors and positions, and of all that is not named below.
    tokens: Device,
    layers: BTreeMap<usize, Device>,
    norm: Device,
    head: Device,
}

/// The device that stands for another: the one that `auto` chooses. Fails on one that is not there.
pub fn resolve(device: Device) -> Result<Device, Failure> {
    match device {
        Device::Auto => Ok(cuda::auto().0),
        Device::Cpu => Ok(Device::Cpu),
        Device::Cuda(number) => {
            cuda::usable(number)?;
            Ok(device)
        }
    }
}

/// The same as candle's.
fn candle(device: Device) -> Result<candle_core::Device, Failure> {
    match resolve(device)? {
        Device::Auto | Device::Cpu => Ok(candle_core::Device::Cpu),
        Device::Cuda(number) => cuda::device(number),
    }
}

/// The devices of a decoder's parts, as its forward pass uses them.
#[derive(Clone, Debug)]
pub struct Devices {
    /// Of each layer.
    pub layers: Vec<candle_core::Device>,
    /// Of the last norm.
    pub norm: candle_core::Device,
    /// Of the head.
    pub head: candle_core::Device,
}

impl Placement {
    /// All on one device.
    pub fn whole(device: Device) -> Self {
        Self {
            map: vec![(String::new(), device)],
            strangers: Vec::new(),
            choice: None,
            tokens: device,
            layers: BTreeMap::new(),
            norm: device,
            head: device,
        }
    }

    /// The same, with a line that says why `auto` took it.
    pub(crate) fn chosen(self, choice: String) -> Self {
        Self {
            choice: Some(choice),
            ..self
        }
    }

    /// The placement of a model's parameters by a map. Fails on a device that is not there, on a parameter
    /// that the map does not cover, and on parts of one layer in two places.
    pub fn new(map: &DeviceMap, weights: &Weights) -> Result<Self, Failure> {
        let modules = match map {
            DeviceMap::Whole(Device::Auto) => {
                let (device, choice) = cuda::auto();
                return Ok(Self {
                    choice,
                    ..Self::whole(device)
                });
            }
            DeviceMap::Whole(device) => return Ok(Self::whole(resolve(*device)?)),
            DeviceMap::Modules(modules) => modules,
        };
        let modules = modules
            .iter()
            .map(|(name, device)| Ok((name.clone(), resolve(*device)?)))
            .collect::<Result<_, Failure>>()?;
        Self::of_modules(&modules, &families::parameter_names(weights))
    }

    fn of_modules(
        modules: &BTreeMap<String, Device>,
        parameters: &[String],
    ) -> Result<Self, Failure> {
        let mut places: BTreeMap<Part, (&str, Device)> = BTreeMap::new();
        let mut missing = Vec::new();
        for parameter in parameters {
            let Some(device) = device_of(modules, parameter) else {
                missing.push(parameter.as_str());
                continue;
            };
            let part = Part::of(parameter);
            match places.get(&part) {
                Some((other, known)) if *known != device => {
                    return Err(split((*other, *known), (parameter, device)));
                }
                Some(_) => {}
                None => drop(places.insert(part, (parameter, device))),
            }
        }
        if let Some(first) = missing.first() {
            return Err(uncovered(first, missing.len() - 1));
        }
        let at = |part| places.get(&part).map(|(_, device)| *device);
        let tokens = at(Part::Tokens).unwrap_or_default();
        let layers = places.iter().filter_map(|(part, (_, device))| match part {
            Part::Layer(index) => Some((*index, *device)),
            Part::Tokens | Part::Norm | Part::Head => None,
        });
        let mut map: Vec<(String, Device)> = modules.clone().into_iter().collect();
        map.sort_by_cached_key(|(name, _)| in_order(name));
        Ok(Self {
            strangers: modules
                .keys()
                .filter(|key| !names_module(key, parameters))
                .cloned()
                .collect(),
            map,
            choice: None,
            tokens,
            layers: layers.collect(),
            norm: at(Part::Norm).unwrap_or(tokens),
            head: at(Part::Head).unwrap_or(tokens),
        })
    }

    /// This placement, of a model that cards do not run: `auto` takes the processor and says so, a card that was
    /// asked for by its name is an error.
    pub fn off_cards(self, map: &DeviceMap, name: &str, reason: &str) -> Result<Self, Failure> {
        let mut devices = self.map.iter().map(|(_, device)| *device);
        let Some(card) = devices.find(|device| matches!(device, Device::Cuda(_))) else {
            return Ok(self);
        };
        if *map == DeviceMap::Whole(Device::Auto) {
            return Ok(Self {
                choice: Some(format!("`auto` takes the CPU for `{name}`: {reason}")),
                ..Self::whole(Device::Cpu)
            });
        }
        Err(
            failures::unsupported(format!("cannot load `{name}` on `{card}`: {reason}"))
                .hint("use the device `cpu` or `auto`"),
        )
    }

    /// Fails where a model that runs on one device alone, as all of its kind (plural), is to be on several.
    pub fn check_undivided(&self, name: &str, kind: &str) -> Result<(), Failure> {
        let others = self.layers.values().chain([&self.norm, &self.head]);
        match others.copied().find(|device| *device != self.tokens) {
            None => Ok(()),
            Some(other) => Err(failures::unsupported(format!(
                "cannot load `{name}` on `{}` and `{other}`: {kind} are on one device as a whole",
                self.tokens
            ))
            .hint("name one device for all: `device_map(\"cuda:0\")`")),
        }
    }

    /// The device of a parameter. Of tables it is of no interest: a token's vector is looked up in main memory, since a
    /// row at a time is wanted.
    pub fn device_of(&self, parameter: &str) -> Result<candle_core::Device, Failure> {
        candle(match Part::of(parameter) {
            Part::Tokens => self.tokens,
            Part::Layer(index) => self.layer(index),
            Part::Norm => self.norm,
            Part::Head => self.head,
        })
    }

    /// Whether all of it is in main memory.
    pub fn is_on_cpu(&self) -> bool {
        let mut devices = self
            .layers
            .values()
            .chain([&self.tokens, &self.norm, &self.head]);
        devices.all(|device| *device == Device::Cpu)
    }

    /// The cards that it takes memory of.
    pub fn cards(&self) -> Vec<Device> {
        let devices = self
            .layers
            .values()
            .chain([&self.tokens, &self.norm, &self.head]);
        let mut cards: Vec<Device> = devices
            .copied()
            .filter(|device| *device != Device::Cpu)
            .collect();
        cards.sort_unstable_by_key(Device::to_string);
        cards.dedup();
        cards
    }

    /// Where the last norm lives.
    pub(crate) fn norm(&self) -> Device {
        self.norm
    }

    /// Where the head lives.
    pub(crate) fn head(&self) -> Device {
        self.head
    }

    /// Where a layer lives.
    pub(crate) fn layer(&self, index: usize) -> Device {
        self.layers.get(&index).copied().unwrap_or(self.tokens)
    }

    /// The device of the head.
    pub fn head_device(&self) -> Result<candle_core::Device, Failure> {
        candle(self.head)
    }

    /// Which module lives where, by the names of the map.
    pub fn map(&self) -> &[(String, Device)] {
        &self.map
    }

    /// Where a model lives, in words.
    pub fn name(&self) -> String {
        let devices: BTreeSet<String> = self
            .map
            .iter()
            .map(|(_, device)| device.to_string())
            .collect();
        devices.into_iter().collect::<Vec<_>>().join(", ")
    }

    /// A line on what `auto` took, where that could surprise.
    pub fn choice(&self) -> Option<&str> {
        self.choice.as_deref()
    }

    /// A line for keys that place nothing, as accelerate's warning.
    pub fn notice(&self, model: &str) -> Option<String> {
        let keys: Vec<String> = self
            .strangers
            .iter()
            .map(|key| format!("`{key}`"))
            .collect();
        (!keys.is_empty()).then(|| {
            format!(
                "these keys of `device_map` match no module of `{model}`, and place nothing: {}",
                keys.join(", ")
            )
        })
    }

    /// The devices of a decoder of so many layers.
    pub fn devices(&self, layers: usize) -> Result<Devices, Failure> {
        Ok(Devices {
            layers: (0..layers)
                .map(|index| candle(self.layer(index)))
                .collect::<Result<_, _>>()?,
            norm: candle(self.norm)?,
            head: candle(self.head)?,
        })
    }
}

/// What a decoder's parameters belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Vectors of tokens and positions, and whatever is none of the others.
    Tokens,
    /// A layer.
    Layer(usize),
    /// The last norm.
    Norm,
    /// The head.
    Head,
}

impl Part {
    /// The part of a parameter, by its name in whatever files.
    pub fn of(parameter: &str) -> Self {
        let segments: Vec<&str> = parameter.split('.').collect();
        let layer = segments.windows(2).find_map(|pair| match pair {
            ["layers" | "layer" | "h" | "block" | "blk", number] => number.parse().ok(),
            _ => None,
        });
        match layer {
            Some(index) => Self::Layer(index),
            None if matches!(segments[0], "lm_head" | "output") => Self::Head,
            None if segments
                .iter()
                .any(|name| matches!(*name, "norm" | "ln_f" | "output_norm")) =>
            {
                Self::Norm
            }
            None => Self::Tokens,
        }
    }
}

/// The device of the longest name that the parameter's begins with.
fn device_of(modules: &BTreeMap<String, Device>, parameter: &str) -> Option<Device> {
    let mut name = parameter;
    loop {
        if let Some(device) = modules.get(name) {
            return Some(*device);
        }
        match name.rsplit_once('.') {
            Some((module, _)) => name = module,
            None => return modules.get("").copied(),
        }
    }
}

fn names_module(key: &str, parameters: &[String]) -> bool {
    let last = key.rsplit('.').next().unwrap_or(key);
    let begins = |parameter: &String| {
        let rest = parameter.strip_prefix(key);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    };
    key.is_empty() || WITHOUT_PARAMETERS.contains(&last) || parameters.iter().any(begins)
}

/// A key by which layers come by their numbers.
fn in_order(name: &str) -> Vec<(usize, String)> {
    let segments = name.split('.');
    segments
        .map(|segment| match segment.parse() {
            Ok(number) => (number, String::new()),
            Err(_) => (usize::MAX, segment.to_owned()),
        })
        .collect()
}

fn uncovered(first: &str, others: usize) -> Failure {
    let module = first.rsplit_once('.').map_or(first, |(module, _)| module);
    let more = match others {
        0 => String::new(),
        1 => " and one more parameter".to_owned(),
        others => format!(" and {others} more parameters"),
    };
    failures::invalid(format!(
        "`device_map` does not give any device for `{first}`{more}"
    ))
    .hint(format!(
        "add the module, as in `(\"{module}\", \"cpu\")`, or `(\"\", \"cpu\")` for all that is not named"
    ))
}

fn split((first, one): (&str, Device), (second, other): (&str, Device)) -> Failure {
    failures::unsupported(format!(
        "`device_map` puts `{first}` on `{one}` and `{second}` on `{other}`: a layer is not split"
    ))
    .hint("name the layer as a whole, as in `(\"model.layers.0\", …)`")
}

#[cfg(test)]
mod tests {
    use wire::FailureKind;

    use super::*;

    fn parameters() -> Vec<String> {
        let mut names = vec!["model.embed_tokens.weight".to_owned()];
        for layer in 0..12 {
            for part in ["self_attn.q_proj.weight", "mlp.up_proj.weight"] {
                names.push(format!("model.layers.{layer}.{part}"));
            }
        }
        names.extend(["model.norm.weight", "lm_head.weight"].map(str::to_owned));
        names
    }

    fn place(map: &[(&str, Device)]) -> Result<Placement, Failure> {
        let modules = map
            .iter()
            .map(|(name, device)| ((*name).to_owned(), *device));
        Placement::of_modules(&modules.collect(), &parameters())
    }

    #[test]
    fn the_longest_name_decides() {
        let placement = place(&[
            ("", Device::Cpu),
            ("model.layers", Device::Cuda(0)),
            ("model.layers.1", Device::Cuda(1)),
            ("lm_head", Device::Cuda(2)),
        ])
        .expect("is right");
        // `model.layers.1` is no part of `model.layers.11`'s name.
        let layers = [(0, 0), (1, 1), (2, 0), (10, 0), (11, 0)];
        for (layer, device) in layers {
            assert_eq!(placement.layers[&layer], Device::Cuda(device), "{layer}");
        }
        assert_eq!(
            (placement.tokens, placement.norm),
            (Device::Cpu, Device::Cpu)
        );
        assert_eq!(placement.head, Device::Cuda(2));
        assert_eq!(placement.name(), "cpu, cuda:0, cuda:1, cuda:2");
        assert_eq!(placement.notice("x"), None);
    }

    #[test]
    fn what_is_not_covered_is_named() {
        let failure = place(&[("model", Device::Cpu)]).expect_err("lacks the head");
        assert_eq!(
            failure.message,
            "`device_map` does not give any device for `lm_head.weight`"
        );
        let failure = place(&[("lm_head", Device::Cpu), ("model.layers", Device::Cpu)]);
        let failure = failure.expect_err("lacks two");
        assert!(
            failure
                .message
                .contains("`model.embed_tokens.weight` and one more parameter")
        );
        assert!(
            failure
                .hint
                .expect("a hint")
                .contains("(\"model.embed_tokens\", \"cpu\")")
        );
        assert!(place(&[]).is_err());
    }

    #[test]
    fn a_layer_stays_in_one_place_and_strangers_are_told() {
        let failure = place(&[("", Device::Cpu), ("model.layers.3.mlp", Device::Cuda(0))]);
        let failure = failure.expect_err("splits a layer");
        assert_eq!(failure.kind, FailureKind::Unsupported);
        assert!(
            failure
                .message
                .contains("`model.layers.3.mlp.up_proj.weight` on `cuda:0`")
        );
        let placement = place(&[
            ("", Device::Cpu),
            ("model.layers.10", Device::Cpu),
            ("model.layers.9", Device::Cpu),
            ("model.rotary_emb", Device::Cpu),
            ("model.layers.12", Device::Cpu),
            ("model.layer", Device::Cpu),
        ])
        .expect("is right");
        let notice = placement.notice("x").expect("two strangers");
        assert!(
            notice.ends_with("place nothing: `model.layer`, `model.layers.12`"),
            "{notice}"
        );
        let order: Vec<&str> = placement
            .map()
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(
            order[1..],
            [
                "model.layer",
                "model.layers.9",
                "model.layers.10",
                "model.layers.12",
                "model.rotary_emb",
            ]
        );
    }

    #[test]
    fn what_no_card_runs_goes_to_the_processor_where_auto_chose() {
        let on_card = || Placement::whole(Device::Cuda(1));
        let auto = DeviceMap::Whole(Device::Auto);
        let placement = on_card()
            .off_cards(&auto, "x", "cards do not run these")
            .expect("falls back");
        assert_eq!(placement.name(), "cpu");
        let choice = placement.choice().expect("says so");
        assert_eq!(
            choice,
            "`auto` takes the CPU for `x`: cards do not run these"
        );
        let failure = on_card().off_cards(&Device::Cuda(1).into(), "x", "cards do not run these");
        let failure = failure.expect_err("was asked for");
        assert!(failure.message.contains("`cuda:1`") && failure.hint.is_some());
        let on_cpu = Placement::whole(Device::Cpu);
        assert_eq!(
            on_cpu
                .clone()
                .off_cards(&auto, "x", "cards do not run these"),
            Ok(on_cpu)
        );
    }

    #[test]
    fn a_device_that_is_not_there_is_refused() {
        let failure = resolve(Device::Cuda(99)).expect_err("there is none");
        assert_eq!(failure.kind, FailureKind::Device);
        assert!(failure.message.contains("`cuda:99`") && failure.hint.is_some());
    }
}
