"""Errors of the system after which nothing can be kept: what stops one job stops all."""

import errno

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""There is no room."""

FAILING = frozenset({errno.EIO, errno.EINTR, errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO})
"""What is written or read may be lost."""
