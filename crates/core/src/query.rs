//! InstaQL: parsing, evaluation on an index, results.
