// What both backends share must compile as host C++, as device code and on the simulated GPU.
#pragma once

#if defined(__CUDACC__)
#define WGAN_FAST_HOST_DEVICE __host__ __device__
#else
#define WGAN_FAST_HOST_DEVICE
#endif
