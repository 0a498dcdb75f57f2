//! How a cell says where a model is to live. Whether the device is there, the model host knows.

use std::collections::{BTreeMap, HashMap};

use wire::{
    FailureKind,
    model::{Device, DeviceMap},
};

use crate::{Error, Result};

/// How a device is named.
pub trait IntoDevice {
    /// The device.
    ///
    /// # Errors
    /// There is no device of this name.
    fn into_device(self) -> Result<Device>;
}

impl IntoDevice for Device {
    fn into_device(self) -> Result<Device> {
        Ok(self)
    }
}

impl IntoDevice for &str {
    fn into_device(self) -> Result<Device> {
        match self {
            // The ways to spread a model over several devices; where there is one they are the same.
            "auto" | "balanced" | "balanced_low_0" | "sequential" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
            "disk" => Err(Error::new(
                FailureKind::Unsupported,
                "weights cannot live on \"disk\": they stay in memory, and nothing is read back while a \
                 model computes",
            )
            .with_hint("use \"cpu\"; `quantization_config` makes a model smaller")),
            _ => match self
                .strip_prefix("cuda:")
                .and_then(|ordinal| ordinal.parse().ok())
            {
                Some(ordinal) => Ok(Device::Cuda(ordinal)),
                None => Err(Error::new(
                    FailureKind::InvalidArgument,
                    format!("there is no device `{self}`"),
                )
                .with_hint("use \"auto\", \"cpu\", \"cuda\" or \"cuda:0\"")),
            },
        }
    }
}

impl IntoDevice for String {
    fn into_device(self) -> Result<Device> {
        self.as_str().into_device()
    }
}

impl IntoDevice for &String {
    fn into_device(self) -> Result<Device> {
        self.as_str().into_device()
    }
}

/// The GPU of this number, as in transformers.
impl IntoDevice for u32 {
    fn into_device(self) -> Result<Device> {
        Ok(Device::Cuda(self))
    }
}

/// Where a model's modules are to live: a device for all of them, or pairs of a module's name and its device.
pub trait IntoDeviceMap {
    /// The map.
    ///
    /// # Errors
    /// There is no device of a name, or a module cannot live there.
    fn into_device_map(self) -> Result<DeviceMap>;
}

impl<D: IntoDevice> IntoDeviceMap for D {
    fn into_device_map(self) -> Result<DeviceMap> {
        self.into_device().map(DeviceMap::Whole)
    }
}

impl IntoDeviceMap for DeviceMap {
    fn into_device_map(self) -> Result<DeviceMap> {
        Ok(self)
    }
}

/// By modules. The last of two pairs for one module counts, as in Python.
impl<M: AsRef<str>, D: IntoDevice> IntoDeviceMap for Vec<(M, D)> {
    fn into_device_map(self) -> Result<DeviceMap> {
        let pairs = self.into_iter().map(|(module, device)| {
            let module = module.as_ref().to_owned();
            match device.into_device()? {
                Device::Auto => Err(chosen_later(&module)),
                device => Ok((module, device)),
            }
        });
        pairs.collect::<Result<_>>().map(DeviceMap::Modules)
    }
}

/// As a list.
impl<M: AsRef<str>, D: IntoDevice, const N: usize> IntoDeviceMap for [(M, D); N] {
    fn into_device_map(self) -> Result<DeviceMap> {
        Vec::from(self).into_device_map()
    }
}

/// As a map, which gives the modules no order.
impl<M: AsRef<str>, D: IntoDevice, S> IntoDeviceMap for HashMap<M, D, S> {
    fn into_device_map(self) -> Result<DeviceMap> {
        Vec::from_iter(self).into_device_map()
    }
}

/// As a sorted map.
impl<M: AsRef<str>, D: IntoDevice> IntoDeviceMap for BTreeMap<M, D> {
    fn into_device_map(self) -> Result<DeviceMap> {
        Vec::from_iter(self).into_device_map()
    }
}

fn chosen_later(module: &str) -> Error {
    Error::new(
        FailureKind::InvalidArgument,
        format!("`device_map` gives `{module}` to \"auto\", which is for a whole model"),
    )
    .with_hint("name a device for each module, as \"cpu\", or use `device_map(\"auto\")`")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_named_as_in_torch() {
        assert_eq!(0.into_device(), Ok(Device::Cuda(0)));
        assert_eq!("cuda:1".into_device(), Ok(Device::Cuda(1)));
        assert_eq!("cpu".to_owned().into_device(), Ok(Device::Cpu));
        let error = "disk".into_device().expect_err("is no memory");
        assert_eq!(error.kind(), FailureKind::Unsupported);
        assert!("cuda:x".into_device().is_err());
    }

    #[test]
    fn a_map_gives_modules_their_devices() {
        let split = [
            ("model.layers.0", "cuda:0"),
            ("model.layers.1", "cpu"),
            ("", "cpu"),
        ];
        let Ok(DeviceMap::Modules(modules)) = split.into_device_map() else {
            panic!("is no map by modules")
        };
        assert_eq!(modules.len(), 3);
        assert_eq!(modules["model.layers.0"], Device::Cuda(0));
        let whole = "auto".into_device_map();
        assert_eq!(whole, Ok(DeviceMap::Whole(Device::Auto)));
        let twice = vec![("", 1_u32), ("", 0)].into_device_map();
        let expected = BTreeMap::from([(String::new(), Device::Cuda(0))]);
        assert_eq!(twice, Ok(DeviceMap::Modules(expected.clone())));
        assert_eq!(HashMap::from([("", 0_u32)]).into_device_map(), twice);
        assert!([("", "disk")].into_device_map().is_err());
        let error = [("model", "auto")]
            .into_device_map()
            .expect_err("is no device");
        assert!(error.message().contains("`model`"), "{error}");
    }
}
