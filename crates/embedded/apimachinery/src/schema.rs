//! The one schema model: decoding, strict field checks, strategic merge, server-side apply, pruning and OpenAPI
//! all read it, for built-in kinds and custom resources alike.

mod builtin;

use indexmap::IndexMap;

use crate::gvk::GroupVersionKind;

/// What one JSON value may be.
#[derive(Clone, Debug, PartialEq)]
pub enum Schema {
    /// Anything: arbitrary JSON that is kept as it is.
    Any,
    /// Text.
    String,
    /// Binary data, base64 in JSON.
    Bytes,
    /// 32-bit integer.
    Int32,
    /// 64-bit integer.
    Int64,
    /// Floating point number.
    Double,
    /// `true` or `false`.
    Bool,
    /// A number or a text.
    IntOrString,
    /// A resource quantity; JSON numbers are accepted too.
    Quantity,
    /// RFC 3339 with seconds.
    Time,
    /// RFC 3339 with microseconds.
    MicroTime,
    /// Named fields.
    Object(Box<ObjectSchema>),
    /// Free keys, values of one schema.
    Map(Box<MapSchema>),
    /// A list.
    List(Box<ListSchema>),
    /// A built-in type by name; built-in types may be recursive.
    Named(&'static str),
}

/// Named fields, and what happens to others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectSchema {
    /// Name of the built-in type, empty for a custom one.
    pub name: &'static str,
    /// Text for `kubectl explain`.
    pub description: String,
    /// The fields by JSON name.
    pub fields: IndexMap<String, Field>,
    /// Unknown fields are kept instead of dropped.
    pub preserve_unknown: bool,
    /// Server-side apply owns it as a whole.
    pub atomic: bool,
    /// It has `apiVersion`, `kind` and `metadata` of its own.
    pub is_kind: bool,
}

/// One field of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its value.
    pub schema: Schema,
    /// Must be present.
    pub required: bool,
    /// `null` is a value of its own instead of absence (custom resources only).
    pub nullable: bool,
    /// Strategic merge with `retainKeys` (unions such as a Deployment's strategy).
    pub retain_keys: bool,
    /// Protobuf tags from the outer message inwards; more than one where Go embeds a struct. Empty: no protobuf form.
    pub tags: Vec<u32>,
    /// Value that an absent field stands for; among built-in kinds only the one that list keys need.
    pub default: Option<serde_json::Value>,
    /// Text for `kubectl explain`.
    pub description: String,
}

/// A map with free keys.
#[derive(Clone, Debug, PartialEq)]
pub struct MapSchema {
    /// The values.
    pub values: Schema,
    /// Server-side apply owns it as a whole.
    pub atomic: bool,
}

/// A list.
#[derive(Clone, Debug, PartialEq)]
pub struct ListSchema {
    /// The items.
    pub items: Schema,
    /// How server-side apply sees it.
    pub list_type: ListType,
    /// How strategic merge patch sees it.
    pub patch: ListPatch,
}

/// `x-kubernetes-list-type`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListType {
    /// Owned as a whole.
    Atomic,
    /// Unique scalars, each owned for itself.
    Set,
    /// Objects told apart by the values of these fields.
    Map(Vec<String>),
}

/// Strategic merge of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListPatch {
    /// The patch's list replaces the old one.
    Replace,
    /// Scalars are added.
    MergeScalars,
    /// Objects are merged by the value of this field.
    MergeBy(String),
}

impl Schema {
    /// The schema of a built-in type, for example `core.v1.Pod`; [`Schema::Any`] when the name is unknown.
    pub fn builtin(name: &str) -> Self {
        builtin::find(name).map_or(Self::Any, |(name, _)| Self::Named(name))
    }

    /// The schema of a built-in kind; options such as DeleteOptions are found under any group.
    pub fn of_kind(gvk: &GroupVersionKind) -> Self {
        let prefix = match gvk.group.split('.').next().unwrap_or_default() {
            _ if gvk.kind == "DeleteOptions" => return Self::builtin("meta.v1.DeleteOptions"),
            "" => "core",
            other => other,
        };
        Self::builtin(&format!("{prefix}.{}.{}", gvk.version, gvk.kind))
    }

    /// The schema itself with names followed.
    pub fn resolve(&self) -> &Self {
        match self {
            Self::Named(name) => builtin::find(name).map_or(self, |(_, schema)| schema),
            _ => self,
        }
    }

    /// The object schema, if it is one.
    pub fn as_object(&self) -> Option<&ObjectSchema> {
        match self.resolve() {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The schema of the field `name` of an object, or of the values of a map.
    pub fn child(&self, name: &str) -> &Self {
        match self.resolve() {
            Self::Object(object) => object.fields.get(name).map_or(&Self::Any, |f| &f.schema),
            Self::Map(map) => &map.values,
            _ => &Self::Any,
        }
    }

    /// The schema of a list's items.
    pub fn items(&self) -> &Self {
        match self.resolve() {
            Self::List(list) => &list.items,
            _ => &Self::Any,
        }
    }
}

impl Field {
    /// An optional field without any special rule.
    pub fn new(schema: Schema) -> Self {
        Self {
            schema,
            required: false,
            nullable: false,
            retain_keys: false,
            tags: Vec::new(),
            default: None,
            description: String::new(),
        }
    }
}

/// Names of all built-in types that can be reached from a served kind.
pub fn builtin_names() -> impl Iterator<Item = &'static str> {
    builtin::names()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtin_types_have_their_markers() {
        let pod = Schema::builtin("core.v1.Pod");
        let Schema::List(containers) = pod.child("spec").child("containers").resolve() else { panic!() };
        assert_eq!(containers.patch, ListPatch::MergeBy("name".into()));
        assert_eq!(containers.list_type, ListType::Map(vec!["name".into()]));
        let container = &containers.items;
        let Schema::List(ports) = container.child("ports").resolve() else { panic!() };
        assert_eq!(ports.list_type, ListType::Map(vec!["containerPort".into(), "protocol".into()]));
        assert_eq!(ports.patch, ListPatch::MergeBy("containerPort".into()));
        let object = pod.child("spec").as_object().unwrap();
        assert!(object.fields["containers"].required);
        assert_eq!(object.fields["containers"].tags, [2]);
        let volume = pod.child("spec").child("volumes").items().as_object().unwrap();
        assert_eq!(volume.fields["emptyDir"].tags, [2, 2]);
        let finalizers = pod.child("metadata").child("finalizers");
        let Schema::List(finalizers) = finalizers.resolve() else { panic!() };
        assert_eq!(finalizers.list_type, ListType::Set);
        let deployment = Schema::builtin("apps.v1.Deployment");
        assert!(deployment.child("spec").as_object().unwrap().fields["strategy"].retain_keys);
        assert!(deployment.as_object().unwrap().is_kind);
        assert_eq!(Schema::builtin("nothing"), Schema::Any);
    }
}
