//! Enumerations with fixed texts on the wire.

/// Declares an enum with its wire texts: serde, JSON schema (a plain `enum` list, which structural schemas allow),
/// `as_str` and `Display`. The first variant is the default, as in protobuf.
macro_rules! wire_enum {
    ($(#[$meta:meta])* $name:ident {
        $(#[$fmeta:meta])* $first:ident = $ftext:literal $(, $(#[$vmeta:meta])* $variant:ident = $text:literal)* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $(#[$fmeta])* #[default] #[serde(rename = $ftext)] $first,
            $($(#[$vmeta])* #[serde(rename = $text)] $variant),*
        }

        impl $name {
            /// Every value, in wire order.
            pub const ALL: &'static [Self] = &[Self::$first $(, Self::$variant)*];
            /// The text on the wire.
            pub fn as_str(self) -> &'static str {
                match self { Self::$first => $ftext $(, Self::$variant => $text)* }
            }
        }
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> { stringify!($name).into() }
            fn inline_schema() -> bool { true }
            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "enum": [$ftext $(, $text)*] })
            }
        }
    };
}
pub(crate) use wire_enum;
