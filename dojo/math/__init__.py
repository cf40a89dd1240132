"""Small linear algebra of rigid bodies.

Layout: arrays are *component first*. A set of n vectors is (3, n), a set of n matrices (3, 3, n),
a set of n quaternions (4, n). The long axis is the last one, so the compiler vectorizes over links
or contacts, and a `vmap` adds the batch in front of it without a transposition.
"""
