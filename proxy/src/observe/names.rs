//! Names that many requests share, kept once.

use std::{collections::HashSet, sync::Arc};

/// Most names that are kept; a peer may make up any number of them.
const MOST: usize = 1000;

/// Names that were met.
#[derive(Debug, Default)]
pub(super) struct Names(HashSet<Arc<str>>);

impl Names {
    /// The name, as it was met before if it was.
    pub(super) fn intern(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.0.get(name) {
            return Arc::clone(known);
        }
        if self.0.len() == MOST {
            // Those in use come back.
            self.0.clear();
        }
        let name = Arc::from(name);
        self.0.insert(Arc::clone(&name));
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_kept_once_and_few_are_kept() {
        let mut names = Names::default();
        let first = names.intern("tools/call");
        assert!(Arc::ptr_eq(&first, &names.intern("tools/call")));
        for name in 0..10 * MOST {
            assert_eq!(&*names.intern(&name.to_string()), name.to_string());
        }
        assert!(names.0.len() <= MOST);
        assert_eq!(names.intern("tools/call"), first);
    }
}
