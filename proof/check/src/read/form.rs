//! Values of EDN and JSON, as far as histories need them.

/// A value. Numbers and characters are kept as they were written; a set is a list, a tag is passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Nil,
    /// A number, a string, a symbol, a boolean or a character.
    Text(String),
    Keyword(String),
    List(Vec<Form>),
    Map(Vec<(Form, Form)>),
}

impl Form {
    /// The value under `:name`, or `"name"` as JSON has it.
    pub(crate) fn field(&self, name: &str) -> Option<&Self> {
        let Self::Map(entries) = self else { return None };
        entries.iter().find(|(key, _)| key.word() == Some(name)).map(|(_, value)| value)
    }

    /// A keyword, or a string as JSON has it.
    pub(crate) fn word(&self) -> Option<&str> {
        match self {
            Self::Keyword(word) | Self::Text(word) => Some(word),
            Self::Nil | Self::List(_) | Self::Map(_) => None,
        }
    }

    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Text(text) => text.parse().ok(),
            Self::Nil | Self::Keyword(_) | Self::List(_) | Self::Map(_) => None,
        }
    }

    pub(crate) fn list(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            Self::Nil | Self::Text(_) | Self::Keyword(_) | Self::Map(_) => None,
        }
    }

    /// How it is called where it is a key or a value; the same for the same value.
    pub(crate) fn name(&self) -> String {
        let all = |items: &[Self]| items.iter().map(Self::name).collect::<Vec<_>>().join(" ");
        match self {
            Self::Nil => "nil".to_owned(),
            Self::Text(text) => text.clone(),
            Self::Keyword(word) => format!(":{word}"),
            Self::List(items) => format!("[{}]", all(items)),
            Self::Map(entries) => {
                let entry = |(key, value): &(Self, Self)| format!("{} {}", key.name(), value.name());
                format!("{{{}}}", entries.iter().map(entry).collect::<Vec<_>>().join(", "))
            }
        }
    }

    pub(crate) fn of_json(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Self::Nil,
            serde_json::Value::Bool(is) => Self::Text(is.to_string()),
            serde_json::Value::Number(number) => Self::Text(number.to_string()),
            serde_json::Value::String(text) => Self::Text(text),
            serde_json::Value::Array(items) => Self::List(items.into_iter().map(Self::of_json).collect()),
            serde_json::Value::Object(entries) => {
                Self::Map(entries.into_iter().map(|(key, value)| (Self::Text(key), Self::of_json(value))).collect())
            }
        }
    }
}
