// Comes with the CSI Controller service.
