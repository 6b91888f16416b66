//! What is wrong with a value, and where in it.

use std::fmt;

/// The way from one value to one within it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// To an entry of a list, from 0.
    Entry(usize),
    /// To what stands below a key.
    Key(String),
}

/// All that is wrong with a value, each to follow the setting's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(Vec<(Vec<Step>, String)>);

impl Wrong {
    /// The same, of a value that stands below another.
    #[must_use]
    pub fn below(mut self, step: &Step) -> Self {
        self.0.iter_mut().for_each(|(place, _)| place.insert(0, step.clone()));
        self
    }

    /// The same, of one that needs a name.
    #[must_use]
    pub fn of(mut self, name: &str) -> Self {
        self.0.iter_mut().for_each(|(_, what)| what.insert_str(0, &format!("{name} ")));
        self
    }

    /// All of these; none when there is nothing wrong.
    pub fn all(wrongs: impl IntoIterator<Item = Self>) -> Option<Self> {
        let all: Vec<_> = wrongs.into_iter().flat_map(|wrong| wrong.0).collect();
        (!all.is_empty()).then_some(Self(all))
    }

    /// In words; `line` knows where the lines of places are that have one of their own.
    pub fn told(&self, line: impl Fn(&[Step]) -> Option<usize>) -> String {
        let told = |(place, what): &(Vec<Step>, String)| match line(place) {
            Some(line) => format!("in line {line}: {what}"),
            None => what.clone(),
        };
        self.0.iter().map(told).collect::<Vec<_>>().join("; ")
    }
}

impl<T: Into<String>> From<T> for Wrong {
    fn from(what: T) -> Self {
        Self(vec![(Vec::new(), what.into())])
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.told(|_| None))
    }
}
