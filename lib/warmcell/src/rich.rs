//! One macro for values of this crate that wrap a wire type: each shows and serialises as what it
//! wraps.

macro_rules! shows_as {
    ($type:ty, $field:ident) => {
        impl ::display::RichDisplay for $type {
            fn bundle(&self) -> ::wire::mime::Bundle {
                self.$field.bundle()
            }
        }

        impl ::serde::Serialize for $type {
            fn serialize<S: ::serde::Serializer>(
                &self,
                serializer: S,
            ) -> ::std::result::Result<S::Ok, S::Error> {
                ::serde::Serialize::serialize(&self.$field, serializer)
            }
        }
    };
}

pub(crate) use shows_as;
