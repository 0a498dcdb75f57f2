//! How a cell says where a model is to live. Whether the device is there, the model host knows.

use wire::{FailureKind, model::Device};

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
            // The ways to spread a model over several devices; here it is on one.
            "auto" | "balanced" | "balanced_low_0" | "sequential" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            "cuda" => Ok(Device::Cuda(0)),
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

/// A map by modules, which must name one device.
impl<M: AsRef<str>, D: IntoDevice> IntoDevice for Vec<(M, D)> {
    fn into_device(self) -> Result<Device> {
        let mut first: Option<(String, Device)> = None;
        for (module, device) in self {
            let (module, device) = (module.as_ref().to_owned(), device.into_device()?);
            match &first {
                Some((other, known)) if *known != device => {
                    let message = format!(
                        "`device_map` puts `{other}` and `{module}` on two devices: a model is not split"
                    );
                    return Err(Error::new(FailureKind::Unsupported, message)
                        .with_hint("name one device for all modules, or \"auto\""));
                }
                Some(_) => {}
                None => first = Some((module, device)),
            }
        }
        let missing = || {
            Error::new(FailureKind::InvalidArgument, "`device_map` is an empty map")
                .with_hint("use \"auto\"")
        };
        first.map(|(_, device)| device).ok_or_else(missing)
    }
}

/// As a list.
impl<M: AsRef<str>, D: IntoDevice, const N: usize> IntoDevice for [(M, D); N] {
    fn into_device(self) -> Result<Device> {
        Vec::from(self).into_device()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_names_one_device() {
        let all = [("model.embed_tokens", "cpu"), ("model.layers.0", "cpu")];
        assert_eq!(all.into_device(), Ok(Device::Cpu));
        assert_eq!(vec![("", 1_u32)].into_device(), Ok(Device::Cuda(1)));
        let split = [("model.layers.0", "cuda:0"), ("model.layers.1", "cpu")];
        let error = split.into_device().expect_err("is split");
        assert_eq!(error.kind(), FailureKind::Unsupported);
        assert!(error.message().contains("model.layers.1"), "{error}");
        assert!([("", "disk")].into_device().is_err());
        assert!(Vec::<(&str, &str)>::new().into_device().is_err());
        assert_eq!(0.into_device(), Ok(Device::Cuda(0)));
        assert_eq!("cpu".to_owned().into_device(), Ok(Device::Cpu));
    }
}
