//! The tree of a YAML file, and the lines of what stands in it. The parser tells positions only
//! in errors, so it is led to a place and made to fail there.

use std::{cell::Cell, fmt};

use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, Error, IgnoredAny, MapAccess, SeqAccess,
    VariantAccess, Visitor,
};
use serde_yaml::{
    Mapping, Value,
    value::{Tag, TaggedValue},
};

use crate::config::kind::Step;

/// A key that stands in its mapping for the second time, and its line.
pub(super) type Again = (String, Option<usize>);

/// The tree, in which of equal keys the last counts, and the keys that stand there again.
pub(super) fn read(text: &str) -> Result<(Value, Vec<Again>), serde_yaml::Error> {
    let mut found = Vec::new();
    loop {
        let (skip, again) = (Cell::new(found.len()), Cell::default());
        let seed = Tree { skip: &skip, again: &again };
        match (seed.deserialize(serde_yaml::Deserializer::from_str(text)), again.take()) {
            (Ok(tree), _) => return Ok((tree, found)),
            (Err(error), Some(key)) => found.push((key, error.location().map(|at| at.line()))),
            (Err(error), None) => return Err(error),
        }
    }
}

/// Makes the tree, and fails on a key that is there again once `skip` of them were passed.
#[derive(Clone, Copy)]
struct Tree<'a> {
    skip: &'a Cell<usize>,
    again: &'a Cell<Option<String>>,
}

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self)? {
            values.push(value);
        }
        Ok(values.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Mapping::new();
        while let Some(key) = map.next_key_seed(Key { tree: self, before: &values })? {
            let value = map.next_value_seed(self)?;
            values.insert(key.into(), value);
        }
        Ok(values.into())
    }

    fn visit_enum<A: EnumAccess<'de>>(self, tagged: A) -> Result<Value, A::Error> {
        let (tag, value) = tagged.variant::<String>()?;
        let value = value.newtype_variant_seed(self)?;
        Ok(Value::Tagged(Box::new(TaggedValue { tag: Tag::new(tag), value })))
    }
}

struct Key<'a> {
    tree: Tree<'a>,
    before: &'a Mapping,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<String, E> {
        if self.before.contains_key(key) {
            let Some(left) = self.tree.skip.get().checked_sub(1) else {
                self.tree.again.set(Some(key.to_owned()));
                return Err(E::custom("here"));
            };
            self.tree.skip.set(left);
        }
        Ok(key.to_owned())
    }
}

/// The line of what stands at this place: of a key, or of an entry of a list.
pub(super) fn line_of(text: &str, path: &[Step]) -> Option<usize> {
    let error = Probe(path).deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    Some(error.location()?.line())
}

struct Probe<'a>(&'a [Step]);

impl Probe<'_> {
    /// Fails on the entry at which the path ends.
    fn here<E: Error>(&self) -> Result<(), E> {
        if self.0.is_empty() { Err(E::custom("here")) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Probe<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Probe<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("what the path leads through")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.here()
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.here()
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.here()
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.here()
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.here()
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.here()
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Some((Step::Entry(wanted), rest)) = self.0.split_first() else { return self.here() };
        for _ in 0..*wanted {
            list.next_element::<IgnoredAny>()?;
        }
        list.next_element_seed(Probe(rest)).map(|_| ())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Key(first), rest)) = self.0.split_first() else { return self.here() };
        while let Some(found) =
            map.next_key_seed(Sought { wanted: first, last: rest.is_empty() })?
        {
            if found {
                return map.next_value_seed(Probe(rest));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

/// Says whether a key is the wanted one; fails on it when it is the last of the path.
struct Sought<'a> {
    wanted: &'a str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for Sought<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Sought<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        match key == self.wanted {
            true if self.last => Err(E::custom("here")),
            found => Ok(found),
        }
    }
}
