//! `device_map="auto"` where a model does not fit on one card: its layers go to the cards in order, as many as there is
//! room for, and what is left to the processor, as accelerate's `infer_auto_device_map` has it.

use std::collections::BTreeMap;

use wire::{Failure, model::Device};

use super::{Part, Placement};
use crate::memory::megabytes;

/// What parts of a model take, and where there is room.
pub(crate) struct Parts<'a> {
    /// Bytes of a part, its keys and values included.
    pub bytes: &'a dyn Fn(Part) -> u64,
    /// Bytes that each card has for it, in order.
    pub cards: &'a [(Device, u64)],
}

impl Placement {
    /// A placement of the parameters of a model by what there is room for. `name` is what users call it.
    pub(crate) fn spread(
        name: &str,
        parameters: &[String],
        parts: &Parts,
    ) -> Result<Self, Failure> {
        let mut places: BTreeMap<Part, Device> = BTreeMap::new();
        let mut cards = parts.cards.iter().copied();
        let mut current = cards.next();
        // The order in which data flows.
        let order = parameters.iter().map(|parameter| Part::of(parameter));
        let mut order: Vec<Part> = order.filter(|part| *part != Part::Tokens).collect();
        order.sort_unstable();
        order.dedup();
        for part in order {
            let bytes = (parts.bytes)(part);
            while let Some((_, room)) = current
                && room < bytes
            {
                current = cards.next();
            }
            let device = match &mut current {
                Some((card, room)) => {
                    *room -= bytes;
                    *card
                }
                None => Device::Cpu,
            };
            places.insert(part, device);
        }
        let modules = parameters.iter().map(|parameter| {
            let part = Part::of(parameter);
            let device = places.get(&part).copied().unwrap_or(Device::Cpu);
            (module(parameter, part), device)
        });
        let placement = Self::of_modules(&modules.collect(), parameters)?;
        Ok(Self {
            choice: Some(told(name, &places, parts)),
            ..placement
        })
    }
}

/// The module of a parameter: its layer as a whole, or what it belongs to.
fn module(parameter: &str, part: Part) -> String {
    if let Part::Layer(index) = part {
        let end = format!(".{index}.");
        if let Some(at) = parameter.find(&end) {
            return parameter[..at + end.len() - 1].to_owned();
        }
    }
    let module = parameter
        .rsplit_once('.')
        .map_or(parameter, |(module, _)| module);
    module.to_owned()
}

/// As `12 of 32 layers on cuda:0, 20 and the head on cpu`.
fn told(name: &str, places: &BTreeMap<Part, Device>, parts: &Parts) -> String {
    let mut counts: Vec<(Device, usize)> = Vec::new();
    for (part, device) in places {
        if let Part::Layer(_) = part {
            match counts.last_mut() {
                Some((last, count)) if last == device => *count += 1,
                _ => counts.push((*device, 1)),
            }
        }
    }
    let layers: usize = counts.iter().map(|(_, count)| count).sum();
    let head = places.get(&Part::Head).copied().unwrap_or(Device::Cpu);
    let mut said: Vec<String> = Vec::new();
    for (place, (device, count)) in counts.iter().enumerate() {
        let of = if place == 0 {
            format!("{count} of {layers} layers")
        } else {
            count.to_string()
        };
        let head = if *device == head { " and the head" } else { "" };
        said.push(format!("{of}{head} on `{device}`"));
    }
    if counts.iter().all(|(device, _)| *device != head) {
        said.push(format!("the head on `{head}`"));
    }
    let whole: u64 = places.keys().map(|&part| (parts.bytes)(part)).sum();
    let room: Vec<String> = parts
        .cards
        .iter()
        .map(|(card, room)| format!("{} for it on `{card}`", megabytes(*room)))
        .collect();
    format!(
        "`auto` splits `{name}`: {}; it takes {}, and there are {}",
        said.join(", "),
        megabytes(whole),
        room.join(" and ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters() -> Vec<String> {
        let mut names = vec!["model.embed_tokens.weight".to_owned()];
        for layer in 0..12 {
            names.push(format!("model.layers.{layer}.self_attn.q_proj.weight"));
            names.push(format!("model.layers.{layer}.mlp.up_proj.weight"));
        }
        names.extend(["model.norm.weight", "lm_head.weight"].map(str::to_owned));
        names
    }

    fn spread(cards: &[u64]) -> Placement {
        let cards: Vec<(Device, u64)> =
            (0..).map(Device::Cuda).zip(cards.iter().copied()).collect();
        let parts = Parts {
            bytes: &|part| match part {
                Part::Layer(_) => 10_000_000,
                Part::Norm => 1,
                Part::Head | Part::Tokens => 25_000_000,
            },
            cards: &cards,
        };
        Placement::spread("m", &parameters(), &parts).expect("is right")
    }

    fn layers(placement: &Placement) -> Vec<Device> {
        (0..12).map(|index| placement.layer(index)).collect()
    }

    #[test]
    fn layers_fill_cards_in_order_and_the_rest_stays_on_the_processor() {
        let (first, second, cpu) = (Device::Cuda(0), Device::Cuda(1), Device::Cpu);
        let placement = spread(&[59_999_999, 42_000_000]);
        let expected = [vec![first; 5], vec![second; 4], vec![cpu; 3]].concat();
        assert_eq!(layers(&placement), expected);
        assert_eq!((placement.norm(), placement.head()), (cpu, cpu));
        assert_eq!(
            placement.choice(),
            Some(
                "`auto` splits `m`: 5 of 12 layers on `cuda:0`, 4 on `cuda:1`, 3 and the head on `cpu`; it takes \
                 145 MB, and there are 60 MB for it on `cuda:0` and 42 MB for it on `cuda:1`"
            )
        );
        assert!(
            placement
                .map()
                .contains(&("model.layers.4".to_owned(), first))
        );
    }

    #[test]
    fn two_cards_hold_a_model_that_one_does_not() {
        let placement = spread(&[70_000_000, 80_000_000]);
        let (first, second) = (Device::Cuda(0), Device::Cuda(1));
        let expected = [vec![first; 7], vec![second; 5]].concat();
        assert_eq!(layers(&placement), expected);
        assert_eq!((placement.norm(), placement.head()), (second, second));
        assert_eq!(placement.name(), "cpu, cuda:0, cuda:1");
    }

    #[test]
    fn a_card_without_room_is_left_out() {
        let placement = spread(&[9, 1_000_000_000]);
        assert_eq!(layers(&placement), vec![Device::Cuda(1); 12]);
        let placement = spread(&[9]);
        assert_eq!(layers(&placement), vec![Device::Cpu; 12]);
        assert_eq!(placement.name(), "cpu");
    }
}
