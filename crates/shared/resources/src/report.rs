//! What is found in an object: errors and warnings, each with the path of its field.

use std::fmt;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Path of the field.
    pub field: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// All findings of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The object is refused.
    pub errors: Vec<Finding>,
    /// The object is accepted; the user is told.
    pub warnings: Vec<Finding>,
    /// What the automata of the object's regular expressions cost so far.
    regex_cost: u64,
}

impl Report {
    /// Counts the automaton of one more regular expression; returns what they cost together.
    pub(crate) fn add_regex_cost(&mut self, cost: u64) -> u64 {
        self.regex_cost = self.regex_cost.saturating_add(cost);
        self.regex_cost
    }

    /// No errors.
    pub fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }
    /// Adds an error.
    pub fn error(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.errors.push(Finding { field: field.into(), message: message.into() });
    }
    /// Adds a warning.
    pub fn warn(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Finding { field: field.into(), message: message.into() });
    }
    /// Adds what another report found.
    pub fn extend(&mut self, more: Self) {
        self.errors.extend(more.errors);
        self.warnings.extend(more.warnings);
        self.regex_cost = self.regex_cost.saturating_add(more.regex_cost);
    }
    /// The object as a result, for callers that only pass it on.
    pub fn into_result(self) -> Result<Vec<Finding>, ValidationError> {
        if self.errors.is_empty() {
            Ok(self.warnings)
        } else {
            Err(ValidationError { findings: self.errors })
        }
    }
}

/// The errors of one object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct ValidationError {
    /// What was found.
    pub findings: Vec<Finding>,
}
