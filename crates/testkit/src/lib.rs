//! Golden files, comparisons in ULPs, tiny random models; not published.
