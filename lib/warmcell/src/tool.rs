//! Functions that a model may call, described as transformers' `get_json_schema` describes a Python
//! function (`utils/chat_template_utils.py`): from the signature and its comments.

use serde_json::{Map, Value, json};

/// Describes a function for `TemplateOptions::tools`. The comments say what it does, what each argument
/// is, and after `Returns:` what it gives; `(choices: ["a", "b"])` at the end of an argument's comment
/// lists what it may be. An `Option` need not be given.
///
/// ```
/// use warmcell::tool;
///
/// let weather = tool! {
///     /// The weather of a city.
///     fn weather(
///         /// The city.
///         city: String,
///         /// The unit (choices: ["celsius", "fahrenheit"])
///         unit: Option<String>,
///     ) -> f64
/// };
/// assert_eq!(weather["function"]["parameters"]["required"][0], "city");
/// ```
#[macro_export]
macro_rules! tool {
    (
        $(#[doc = $doc:literal])*
        fn $name:ident($($(#[doc = $about:literal])* $argument:ident : $type:ty),* $(,)?)
        $(-> $output:ty)? $(;)?
    ) => {
        $crate::__describe_tool(
            stringify!($name),
            concat!($($doc, "\n",)* ""),
            vec![$((
                stringify!($argument),
                concat!($($about, "\n",)* ""),
                <$type as $crate::ToolType>::schema(),
            )),*],
            $crate::__tool_output!($($output)?),
        )
    };
}

/// The schema of what [`tool!`]'s function gives.
#[doc(hidden)]
#[macro_export]
macro_rules! __tool_output {
    () => {
        None
    };
    ($output:ty) => {
        Some(<$output as $crate::ToolType>::schema())
    };
}

/// A type that an argument of a [`tool!`] may have.
pub trait ToolType {
    /// Its JSON schema.
    fn schema() -> Value;
}

macro_rules! tool_types {
    ($($name:literal: $($type:ty),+;)+) => {
        $($(impl ToolType for $type {
            fn schema() -> Value {
                json!({"type": $name})
            }
        })+)+
    };
}

tool_types! {
    "string": String, &str, char;
    "integer": i8, i16, i32, i64, isize, u8, u16, u32, u64, usize;
    "number": f32, f64;
    "boolean": bool;
    "null": ();
}

/// Anything, as Python's `Any`.
impl ToolType for Value {
    fn schema() -> Value {
        json!({})
    }
}

impl<T: ToolType> ToolType for Option<T> {
    fn schema() -> Value {
        let mut schema = T::schema();
        schema["nullable"] = true.into();
        schema
    }
}

impl<T: ToolType> ToolType for Vec<T> {
    fn schema() -> Value {
        json!({"type": "array", "items": T::schema()})
    }
}

impl<T: ToolType> ToolType for std::collections::BTreeMap<String, T> {
    fn schema() -> Value {
        json!({"type": "object", "additionalProperties": T::schema()})
    }
}

impl<T: ToolType, S> ToolType for std::collections::HashMap<String, T, S> {
    fn schema() -> Value {
        json!({"type": "object", "additionalProperties": T::schema()})
    }
}

/// Puts a description together.
#[doc(hidden)]
pub fn __describe_tool(
    name: &str,
    doc: &str,
    arguments: Vec<(&str, &str, Value)>,
    output: Option<Value>,
) -> Value {
    let (about, returns) = doc.split_once("Returns:").unwrap_or((doc, ""));
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (argument, comment, mut schema) in arguments {
        let mut comment = one_line(comment);
        if let Some((before, choices)) = choices(&comment) {
            schema["enum"] = choices;
            comment = before;
        }
        if schema.get("nullable").is_none() {
            required.push(Value::from(argument));
        }
        schema["description"] = comment.into();
        properties.insert(argument.to_owned(), schema);
    }
    let mut parameters = json!({"type": "object", "properties": properties});
    if !required.is_empty() {
        parameters["required"] = required.into();
    }
    let mut function =
        json!({"name": name, "description": one_line(about), "parameters": parameters});
    if let Some(mut output) = output {
        if !returns.trim().is_empty() {
            output["description"] = one_line(returns).into();
        }
        function["return"] = output;
    }
    json!({"type": "function", "function": function})
}

fn one_line(comment: &str) -> String {
    comment.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A comment without its `(choices: […])`, and the choices.
fn choices(comment: &str) -> Option<(String, Value)> {
    let at = comment.rfind("(choices:")?;
    let list = comment[at..]
        .strip_prefix("(choices:")?
        .trim()
        .strip_suffix(')')?;
    let list: Value = serde_json::from_str(list).ok()?;
    Some((comment[..at].trim().to_owned(), list))
}
